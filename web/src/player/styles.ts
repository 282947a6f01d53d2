import { css } from "lit";

/** The player is dark in every theme: it lies on video. */
export const playerStyles = css`
  :host {
    display: block;
    position: relative;
    container-type: inline-size;
  }
  :host([hidden]) {
    display: none;
  }
  .player {
    --tl-line: #2a2e37;
    --tl-raised: #1d2026;
    --tl-muted: #9aa1ae;
    --tl-tally-text: #ff8b84;
    --tl-tally-back: rgb(58 20 24 / 88%);
    --tl-tally-line: #7c2b2a;
    --tl-warn-text: #f5b74e;
    position: relative;
    width: 100%;
    aspect-ratio: 16 / 9;
    overflow: hidden;
    border-radius: var(--tl-player-radius, 12px);
    border: 1px solid #2a2e37;
    background: radial-gradient(ellipse at 35% 20%, #1c2637, #0b0d12 70%);
    color: #eceef2;
    box-sizing: border-box;
    user-select: none;
  }
  .player:fullscreen {
    border: 0;
    border-radius: 0;
    aspect-ratio: auto;
    height: 100%;
  }
  .player:focus-visible,
  button:focus-visible,
  input:focus-visible {
    outline: 2px solid #5aa9ff;
    outline-offset: 2px;
  }
  .player:focus-visible {
    outline-offset: -3px;
  }
  .player.quiet {
    cursor: none;
  }
  .stage,
  .stage video {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
  }
  .stage video {
    object-fit: contain;
  }
  .top {
    position: absolute;
    inset: 14px 14px auto;
    display: flex;
    gap: 8px;
    flex-wrap: wrap;
    pointer-events: none;
    transition: opacity 0.2s;
  }
  .badge {
    display: inline-flex;
    align-items: center;
    padding: 7px 12px;
    border: 1px solid #2a2e37;
    border-radius: 999px;
    background: rgb(14 15 18 / 82%);
    font-size: 13px;
    line-height: 1;
    font-weight: 600;
    pointer-events: auto;
  }
  .middle {
    position: absolute;
    inset: 0;
    display: grid;
    place-items: center;
    pointer-events: none;
    padding: 56px 16px;
  }
  .middle > * {
    pointer-events: auto;
  }
  .card {
    max-width: 30em;
    padding: 18px 22px;
    border-radius: 12px;
    border: 1px solid #2a2e37;
    background: rgb(14 15 18 / 94%);
    text-align: center;
    user-select: text;
  }
  .card h2 {
    margin: 0 0 4px;
    font-size: 17px;
    line-height: 1.3;
    display: flex;
    align-items: center;
    justify-content: center;
    gap: 10px;
  }
  .card p {
    margin: 0;
    color: #b6bcc8;
    text-wrap: pretty;
  }
  .card.warn {
    border-color: #6e5220;
  }
  .card.fail {
    border-color: #7c2b2a;
  }
  .spinner {
    width: 16px;
    height: 16px;
    border-radius: 50%;
    border: 2px solid #4a5060;
    border-top-color: #eceef2;
    animation: turn 0.9s linear infinite;
    flex: none;
  }
  @keyframes turn {
    to {
      transform: rotate(1turn);
    }
  }
  button {
    font: inherit;
    color: inherit;
    background: none;
    border: 0;
    border-radius: 8px;
    cursor: pointer;
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 8px;
    min-width: 40px;
    min-height: 40px;
    padding: 0 8px;
  }
  button:hover:not(:disabled) {
    background: rgb(255 255 255 / 12%);
  }
  .tap {
    padding: 14px 22px;
    font-size: 17px;
    font-weight: 700;
    border-radius: 12px;
    border: 1px solid #4a5060;
    background: rgb(14 15 18 / 92%);
    box-shadow: 0 6px 30px rgb(0 0 0 / 45%);
  }
  .tap:hover:not(:disabled) {
    background: rgb(40 44 54 / 94%);
  }
  .bottom {
    position: absolute;
    inset: auto 0 0;
    padding: 34px 10px 6px;
    background: linear-gradient(transparent, rgb(0 0 0 / 82%));
    transition: opacity 0.2s;
  }
  .quiet .bottom,
  .quiet .top {
    opacity: 0;
  }
  .quiet .bottom {
    pointer-events: none;
  }
  .row {
    display: flex;
    align-items: center;
    gap: 2px;
  }
  .gap {
    flex: 1;
  }
  .quality {
    font-size: 13px;
    font-weight: 600;
    padding: 0 8px;
    white-space: nowrap;
  }
  .live {
    font-size: 13px;
    font-weight: 700;
    letter-spacing: 0.03em;
    color: #b6bcc8;
  }
  .live.edge {
    color: #ff8b84;
    cursor: default;
  }
  .live::before {
    content: "";
    width: 9px;
    height: 9px;
    border-radius: 50%;
    background: #7d8492;
  }
  .live.edge::before {
    background: #ff3b30;
  }
  input[type="range"] {
    appearance: none;
    height: 20px;
    margin: 0;
    background: none;
    cursor: pointer;
    --part: 100%;
  }
  input[type="range"]::-webkit-slider-runnable-track {
    height: 4px;
    border-radius: 2px;
    background: linear-gradient(to right, var(--fill, #eceef2) var(--part), #50555f var(--part));
  }
  input[type="range"]::-webkit-slider-thumb {
    appearance: none;
    width: 14px;
    height: 14px;
    margin-top: -5px;
    border-radius: 50%;
    background: #fff;
  }
  input[type="range"]::-moz-range-track {
    height: 4px;
    border-radius: 2px;
    background: linear-gradient(to right, var(--fill, #eceef2) var(--part), #50555f var(--part));
  }
  input[type="range"]::-moz-range-thumb {
    width: 14px;
    height: 14px;
    border: 0;
    border-radius: 50%;
    background: #fff;
  }
  .seek {
    width: calc(100% - 16px);
    margin: 0 8px;
    --fill: #ff3b30;
  }
  .volume {
    width: 76px;
  }
  .stats {
    position: absolute;
    top: 14px;
    right: 14px;
    max-width: min(25em, calc(100% - 28px));
    max-height: calc(100% - 90px);
    overflow: auto;
    padding: 12px 14px;
    border: 1px solid #2a2e37;
    border-radius: 12px;
    background: rgb(14 15 18 / 95%);
    font-size: 12.5px;
    line-height: 1.45;
    user-select: text;
    box-sizing: border-box;
  }
  .stats dl {
    display: grid;
    grid-template-columns: auto 1fr;
    gap: 2px 12px;
    margin: 0 0 8px;
  }
  .stats dt {
    color: #9aa1ae;
  }
  .stats dd {
    margin: 0;
    overflow-wrap: anywhere;
  }
  .stats button {
    border: 1px solid #2a2e37;
    min-height: 34px;
    padding: 0 12px;
    font-weight: 600;
  }
  :host([compact]) .row,
  :host([compact]) .seek,
  :host([compact]) .top,
  :host([compact]) .tap {
    display: none;
  }
  :host([compact]) .bottom {
    display: none;
  }
  :host([compact]) .middle {
    padding: 6px;
  }
  :host([compact]) .card {
    padding: 6px 10px;
    font-size: 12px;
  }
  :host([compact]) .card h2 {
    font-size: 12.5px;
    margin: 0;
  }
  :host([compact]) .card p {
    display: none;
  }
  @container (max-width: 560px) {
    .volume,
    .quality,
    .wide {
      display: none;
    }
    .top {
      inset: 10px 10px auto;
    }
    .middle {
      padding: 44px 12px;
    }
    .card {
      padding: 12px 14px;
      font-size: 14px;
    }
    .card h2 {
      font-size: 15.5px;
    }
    .bottom {
      padding: 20px 4px 2px;
    }
  }
  @media (prefers-reduced-motion: reduce) {
    .spinner {
      animation-duration: 4s;
    }
    .top,
    .bottom {
      transition: none;
    }
  }
`;
