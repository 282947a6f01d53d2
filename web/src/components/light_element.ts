import { LitElement } from "lit";

/** A component without a shadow root: whole pages use the page's own style sheet. */
export class LightElement extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this;
  }
}
