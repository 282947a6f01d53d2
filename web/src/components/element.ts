/** Class decorator that registers a custom element once: an embedding site may load the script twice. */
export function element(tag: string) {
  return (definition: CustomElementConstructor): void => {
    if (!customElements.get(tag)) customElements.define(tag, definition);
  };
}
