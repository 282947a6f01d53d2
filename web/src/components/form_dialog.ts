import { html, nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { ProblemError } from "../api/session";
import { element } from "./element";
import { LightElement } from "./light_element";

export interface FormChoice {
  value: string;
  label: string;
}

export interface FormField {
  name: string;
  label: string;
  kind: "text" | "textarea" | "url" | "select" | "checks";
  /** What it holds at first; several for checks. */
  value?: string | readonly string[];
  choices?: readonly FormChoice[];
  help?: string;
  required?: boolean;
  pattern?: string;
  maxLength?: number;
}

/** Values by field: text, or the chosen ones of checks. */
export class FormValues {
  constructor(private readonly data: FormData) {}

  text(name: string): string {
    return String(this.data.get(name) ?? "");
  }

  chosen(name: string): string[] {
    return this.data.getAll(name).map(String);
  }
}

export interface FormRequest {
  title: string;
  text?: string;
  fields?: readonly FormField[];
  /** The word on the button that does it. */
  submit: string;
  /** It cannot be taken back. */
  danger?: boolean;
  /** Does it; an error's sentence is shown, and the form stays open. */
  action(values: FormValues): Promise<void>;
}

/** Asks in a dialog and does what was asked for. True when it was done, false when it was called off. */
export function askForm(request: FormRequest): Promise<boolean> {
  const dialog = new FormDialog();
  dialog.request = request;
  document.body.append(dialog);
  return dialog.answer.finally(() => dialog.leave());
}

@element("tl-form-dialog")
export class FormDialog extends LightElement {
  request: FormRequest | null = null;
  @state() private problem = "";
  @state() private busy = false;
  #resolve: (done: boolean) => void = () => undefined;
  readonly answer = new Promise<boolean>((resolve) => {
    this.#resolve = resolve;
  });

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }

  /** Closed before it goes: only then does the focus return to where it was. */
  leave(): void {
    this.querySelector("dialog")?.close();
    this.remove();
  }

  override render(): TemplateResult {
    const { request } = this;
    if (!request) return html``;
    // Chromium lets the second Escape through whatever `cancel` says, but not past `closedby`.
    return html`<dialog
      class="form-dialog"
      aria-labelledby="form-title"
      closedby=${this.busy ? "none" : "closerequest"}
      @cancel=${(event: Event) => this.busy && event.preventDefault()}
      @close=${() => this.#resolve(false)}
    >
      <form method="dialog" @submit=${this.#submit}>
        <h2 id="form-title">${request.title}</h2>
        ${request.text ? html`<p>${request.text}</p>` : nothing}
        ${(request.fields ?? []).map((field) => this.#field(field))}
        <p class="problem" role="alert">${this.problem}</p>
        <div class="form-actions">
          <button class="button" type="button" ?disabled=${this.busy} @click=${() => this.#resolve(false)}>Cancel</button>
          <button class="button ${request.danger ? "danger" : "primary"}" type="submit" ?disabled=${this.busy}>${request.submit}</button>
        </div>
      </form>
    </dialog>`;
  }

  #field(field: FormField): TemplateResult {
    if (field.kind === "checks") {
      return html`<fieldset class="field">
        <legend>${field.label}</legend>
        ${(field.choices ?? []).map(
          ({ value, label }) =>
            html`<label class="check"><input type="checkbox" name=${field.name} value=${value} ?checked=${field.value?.includes(value)} /> ${label}</label>`,
        )}
      </fieldset>`;
    }
    return html`<label class="field">
      <span>${field.label}</span>${this.#input(field)}
      ${field.help ? html`<small class="muted">${field.help}</small>` : nothing}
    </label>`;
  }

  #input(field: FormField): TemplateResult {
    const value = String(field.value ?? "");
    if (field.kind === "select") {
      return html`<select name=${field.name}>
        ${(field.choices ?? []).map((choice) => html`<option value=${choice.value} ?selected=${choice.value === value}>${choice.label}</option>`)}
      </select>`;
    }
    if (field.kind === "textarea")
      return html`<textarea name=${field.name} rows="4" maxlength=${field.maxLength ?? nothing} .value=${value}></textarea>`;
    return html`<input
      type=${field.kind}
      name=${field.name}
      autocomplete="off"
      spellcheck="false"
      maxlength=${field.maxLength ?? nothing}
      pattern=${field.pattern ?? nothing}
      ?required=${field.required === true}
      .value=${value}
    />`;
  }

  readonly #submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const values = new FormValues(new FormData(event.target as HTMLFormElement));
    this.busy = true;
    this.problem = "";
    try {
      await this.request?.action(values);
      this.#resolve(true);
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.problem = error.message;
    } finally {
      this.busy = false;
    }
  };
}
