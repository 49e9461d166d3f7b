/** The Worker's entry. */

import { handle } from "./handler.js";
import type { Env } from "./settings.js";

export default {
  fetch: (request, env) => handle(request, env, Date.now(), console.log),
} satisfies ExportedHandler<Env>;
