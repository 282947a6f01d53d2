import { changeStream, createStream, type OwnStream } from "../api/streams";
import type { StreamStatus, Visibility } from "../api/types";
import { askForm, type FormField, type FormValues } from "../components/form_dialog";

/** Same bounds as the server's: names are part of addresses, files and logs. */
const NAME_PATTERN = "[a-z0-9][a-z0-9_\\-]{0,63}";
const TITLE_MAX = 200;
const DESCRIPTION_MAX = 2000;

const VISIBILITIES: { value: Visibility; label: string }[] = [
  { value: "public", label: "Everybody: listed on the front page" },
  { value: "unlisted", label: "Whoever has the address: not listed" },
  { value: "private", label: "Accounts that may, and links with a token" },
];

/** What a new stream is called. */
export const NAME_FIELD: FormField = {
  name: "name",
  label: "Name",
  kind: "text",
  required: true,
  pattern: NAME_PATTERN,
  maxLength: 64,
  help: "Part of its address, and stays as it is: small letters, digits, - and _.",
};

/** What people read about a stream, and who can watch it; empty for a new one. */
export function aboutFields(stream: StreamStatus | null): FormField[] {
  return [
    { name: "title", label: "Title", kind: "text", maxLength: TITLE_MAX, value: stream?.title ?? "" },
    {
      name: "description",
      label: "Description",
      kind: "textarea",
      maxLength: DESCRIPTION_MAX,
      value: stream?.description ?? "",
    },
    {
      name: "visibility",
      label: "Who can watch",
      kind: "select",
      choices: VISIBILITIES,
      value: stream?.visibility ?? "public",
    },
  ];
}

/** The values of `aboutFields`. */
export function aboutOf(values: FormValues): { title: string; description: string; visibility: Visibility } {
  return {
    title: values.text("title").trim(),
    description: values.text("description").trim(),
    visibility: values.text("visibility") as Visibility,
  };
}

/** Asks for a new stream and makes it: its name and its key, which nobody shows again. Null when called off. */
export async function askNewStream(): Promise<{ name: string; key: string } | null> {
  let made: { name: string; key: string } | null = null;
  await askForm({
    title: "New stream",
    text: "A stream is an address where people watch you, again and again.",
    fields: [NAME_FIELD, ...aboutFields(null)],
    submit: "Create stream",
    action: async (values) => {
      made = await createStream({ name: values.text("name").trim(), ...aboutOf(values) });
    },
  });
  return made;
}

/** Asks for title, description and visibility, and changes them. True when they were. */
export function askChanges(stream: OwnStream): Promise<boolean> {
  return askForm({
    title: `Edit ${stream.name}`,
    fields: aboutFields(stream),
    submit: "Save",
    action: (values) => changeStream(stream.name, aboutOf(values)),
  });
}
