import { html, nothing, type TemplateResult } from "lit";
import type { Processor, ServerProcess } from "../../api/dashboard";
import "../../components/lamp";
import type { LampState } from "../../components/lamp";
import { age } from "../../format";

const PROCESS_LAMPS: Record<string, LampState> = { running: "ok", standby: "unknown", not_answering: "fail" };
const PROCESSOR_LAMPS: Record<string, LampState> = {
  running: "ok",
  starting: "unknown",
  waiting: "warn",
  failed: "fail",
};

const words = (name: string): string => name.replaceAll("_", " ");

/** The processes of this server. */
export function processTable(processes: readonly ServerProcess[]): TemplateResult {
  return html`<section class="panel" id="processes">
    <h2>Processes</h2>
    <table>
      <thead>
        <tr><th scope="col">Process</th><th scope="col">State</th><th scope="col">Up for</th><th scope="col">PID</th></tr>
      </thead>
      <tbody>
        ${processes.map(
          (process) => html`<tr>
            <th scope="row">${words(process.name)}</th>
            <td><tally-lamp state=${PROCESS_LAMPS[process.state] ?? "unknown"}>${words(process.state)}</tally-lamp></td>
            <td>${process.uptime_s === null ? "unknown" : age(process.uptime_s)}</td>
            <td>${process.pid ?? "none"}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

/** Programs that take frames and give frames, by what they last reported. */
export function processorList(processors: readonly Processor[]): TemplateResult {
  return html`<section class="panel" id="processors">
    <h2>Processors</h2>
    ${
      processors.length === 0
        ? html`<p class="muted">None has reported. A processor reads a stream from the internal listener and publishes its own; examples/videoProcess.py is one.</p>`
        : html`<ul class="processors">${processors.map((processor) => html`<li>${processorItem(processor)}</li>`)}</ul>`
    }
  </section>`;
}

function processorItem(processor: Processor): TemplateResult {
  const lamp = processor.gone ? "off_air" : (PROCESSOR_LAMPS[processor.state] ?? "unknown");
  return html`<p class="processor-head">
      <strong>${processor.name}</strong>
      <tally-lamp state=${lamp}>${processor.gone ? "gone" : processor.state}</tally-lamp>
      <span class="muted">${processor.input}${processor.output ? html` to ${processor.output}` : nothing}</span>
    </p>
    ${processor.error ? html`<p class="fail-text">${processor.error.sentence}</p>` : nothing}
    <dl class="figures">
      <div><dt>Frames in</dt><dd>${rate(processor.fps_in)}</dd></div>
      <div><dt>Frames out</dt><dd>${rate(processor.fps_out)}</dd></div>
      <div><dt>Queue</dt><dd>${queueText(processor)}</dd></div>
      <div><dt>Dropped</dt><dd>${processor.queue.dropped}</dd></div>
      <div><dt>Errors</dt><dd>${processor.in.errors + processor.out.errors}</dd></div>
    </dl>`;
}

const rate = (fps: number | null): string => (fps === null ? "not measured" : `${fps.toFixed(1)} fps`);

function queueText({ queue }: Processor): string {
  if (queue.length === 0) return "empty";
  return queue.age_ms === null ? `${queue.length} waiting` : `${queue.length}, oldest ${Math.round(queue.age_ms)} ms`;
}
