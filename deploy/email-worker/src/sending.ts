/** Handing a mail to Cloudflare's Email Service, which builds the message from fields: no text becomes a header. */

import { readSender, type Mail, type Sender } from "./mail.js";
import { Refused } from "./refused.js";
import type { Settings } from "./settings.js";

/** Codes that no other try will change. All others are worth one: an outage, a limit, a domain not yet set up. */
const HOPELESS = new Set([
  "E_VALIDATION_ERROR",
  "E_FIELD_MISSING",
  "E_RECIPIENT_NOT_ALLOWED",
  "E_RECIPIENT_SUPPRESSED",
  "E_CONTENT_TOO_LARGE",
  "E_HEADER_NOT_ALLOWED",
  "E_HEADER_USE_API_FIELD",
  "E_HEADER_VALUE_INVALID",
  "E_HEADER_VALUE_TOO_LONG",
  "E_HEADER_NAME_INVALID",
  "E_HEADERS_TOO_LARGE",
  "E_HEADERS_TOO_MANY",
]);

/** The message's id; throws `Refused`: 422 when it will never be taken, 502 when another try may help. */
export async function sendMail(email: SendEmail, settings: Settings, mail: Mail): Promise<string> {
  const replyTo = mail.replyTo ?? (settings.defaultReplyTo ? readSender(settings.defaultReplyTo) : undefined);
  try {
    const { messageId } = await email.send({
      to: mail.to,
      from: asParty(mail.from),
      subject: mail.subject,
      html: mail.html,
      text: mail.text,
      headers: mail.headers,
      ...(replyTo === undefined ? {} : { replyTo: asParty(replyTo) }),
    });
    return messageId;
  } catch (error) {
    const code = codeOf(error);
    throw new Refused(HOPELESS.has(code) ? 422 : 502, code.toLowerCase());
  }
}

/** An address alone has no name, not an empty one. */
function asParty({ name, email }: Sender): string | Sender {
  return name === "" ? email : { name, email };
}

/** Only the code: the message may name the recipient. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" && /^E_[A-Z_]{1,50}$/.test(code) ? code : "E_UNKNOWN";
}
