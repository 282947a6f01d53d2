import { css } from "lit";

/**
 * Colours and measures of the dark theme, for components that must look right outside our pages too. The pages set the
 * same names in tokens.css, with a light variant; a component inherits those where they exist.
 */
export const videoTokens = css`
  :host {
    --tl-tally: #ff3b30;
    --tl-ok: #35c26b;
    --tl-warn: #f5a623;
    --tl-fail: #ff5a4f;
    --tl-info: #5aa9ff;
    --tl-radius: 12px;
    font-family:
      system-ui,
      -apple-system,
      "Segoe UI",
      Roboto,
      "Helvetica Neue",
      sans-serif;
    font-size: 15px;
    line-height: 1.5;
    font-variant-numeric: tabular-nums;
  }
`;

/** For text that only screen readers need. */
export const screenReaderOnly = css`
  .sr {
    position: absolute;
    width: 1px;
    height: 1px;
    margin: -1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
`;
