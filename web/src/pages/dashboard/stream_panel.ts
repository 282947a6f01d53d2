import { html, nothing, type TemplateResult } from "lit";
import { Wrench } from "lucide";
import type { Cause, LinkLamp, RunningStream } from "../../api/dashboard";
import "../../components/chain";
import { sentenceOf } from "../../components/chain";
import "../../components/copy_button";
import { icon } from "../../components/icon";
import "../../components/lamp";
import { bitrate, duration, secondsSince, viewerCount, watching } from "../../format";
import { remarks, streamLamp } from "./model";

/** One stream on air: its lamps, and where one is red why and what to do. */
export function streamPanel(stream: RunningStream, nowMs: number): TemplateResult {
  const lamp = streamLamp(stream);
  const notes = remarks(stream);
  return html`<section class="panel stream-panel ${stream.cause ? "broken" : ""}" data-stream=${stream.name}>
    <div class="stream-head">
      <tally-lamp pill state=${lamp.state}>${lamp.word}</tally-lamp>
      <h2>${stream.title || stream.name}</h2>
      <p class="muted">${factsLine(stream, nowMs)}</p>
      <div class="stream-actions">
        <tl-copy-button label="Copy report" .text=${() => report(stream)}></tl-copy-button>
        <a class="button small" href="/watch/${encodeURIComponent(stream.name)}">Watch</a>
      </div>
    </div>
    <tl-chain .links=${stream.links}></tl-chain>
    ${
      stream.cause || notes.length > 0
        ? html`<div class="verdict">${stream.cause ? causeBlock(stream.cause) : nothing}${remarkList(notes)}</div>`
        : nothing
    }
  </section>`;
}

function factsLine(stream: RunningStream, nowMs: number): string {
  const uptime = secondsSince(stream.started_at, nowMs);
  return [
    stream.title ? stream.name : "",
    stream.stream_type,
    uptime === null ? "" : duration(uptime),
    stream.ingress_bps === null ? "" : `${bitrate(stream.ingress_bps)} in`,
    watching(viewerCount(stream.viewers)),
  ]
    .filter(Boolean)
    .join(" · ");
}

function causeBlock(cause: Cause): TemplateResult {
  return html`<div class="cause">
    <p class="cause-sentence">${cause.sentence}</p>
    <p class="fix">${icon(Wrench, 18)}<span><strong>Fix:</strong> ${cause.fix}</span></p>
    <code>${cause.code}</code>
  </div>`;
}

function remarkList(notes: readonly LinkLamp[]): TemplateResult | typeof nothing {
  if (notes.length === 0) return nothing;
  return html`<dl class="remarks">
    ${notes.map((lamp) => html`<dt>${lamp.link}</dt><dd class=${lamp.state}>${sentenceOf(lamp)}</dd>`)}
  </dl>`;
}

/** What is pasted into a question to somebody else. */
function report(stream: RunningStream): string {
  return JSON.stringify({ at: new Date().toISOString(), ...stream }, null, 2);
}
