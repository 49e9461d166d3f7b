"use strict";
// What both demo pages do: call the API, sign in and out, list events and notifications.
const $ = (id) => document.getElementById(id);

async function call(path, body, method) {
  const options = body === undefined ? {} :
    { method: method || "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(answer.message || "Something went wrong."), { status: response.status });
  return answer;
}

function note(event) {
  const item = document.createElement("li");
  item.textContent = `${event.lastEventId ? "#" + event.lastEventId + " " : ""}${event.type} ${event.data}`;
  $("log").prepend(item);
  while ($("log").childElementCount > 50) $("log").lastElementChild.remove();
}

function noticeLine(notice) {
  const item = document.createElement("li"), title = document.createElement("strong"), body = document.createElement("div");
  item.className = notice.severity + (notice.readAt ? "" : " unread");
  title.textContent = notice.title;
  body.textContent = notice.body;
  item.append(title, body);
  return item;
}

// Keeps the list of the newest notifications and their count; returns what loads it anew.
function notifications(root) {
  async function reload() {
    const [page, unread] = await Promise.all([call(`${root}?limit=8`), call(`${root}/unread-count`)]);
    $("notices").replaceChildren(...page.items.map(noticeLine));
    $("unread").textContent = unread.count ? `${unread.count} unread` : "nothing unread";
    $("read").hidden = !unread.count;
  }
  $("read").addEventListener("click", () => call(`${root}/mark-all-read`, {}).then(reload));
  return reload;
}

// Opens the stream at `path` while somebody is signed in. `events`: what to do for each type.
function live(path, events, opened) {
  const source = new EventSource(path);
  source.onopen = () => { $("stream").textContent = "Live."; opened(); };
  source.onerror = () => { $("stream").textContent = "Connection lost, trying again…"; };
  for (const [type, act] of Object.entries(events)) source.addEventListener(type, act);
  return source;
}

// The page's start: prefilled sign-in, sign-out, and `follow` for whoever is signed in, if with `role` where one is named.
async function signedIn(role, follow) {
  let source = null;
  function show(user) {
    if (source) { source.close(); source = null; }
    $("sign-in").hidden = user !== null;
    $("inside").hidden = $("leave").hidden = user === null;
    $("who").textContent = user ? user.email : "";
    if (user) source = follow();
  }
  $("sign-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    $("problem").textContent = "";
    try {
      const { user } = await call("/api/auth/sign-in/email", Object.fromEntries(new FormData(event.target)));
      show(user);
    } catch (problem) { $("problem").textContent = problem.message; }
  });
  $("leave").addEventListener("click", async () => { await call("/api/auth/sign-out", {}).catch(() => {}); show(null); });
  const demo = await call("/demo.json").catch(() => ({}));
  for (const name of ["email", "password"]) $("sign-in").elements[name].value = demo[name] || "";
  const known = await call("/api/auth/get-session").catch(() => null);
  show(known && known.user && (!role || known.user.role === role) ? known.user : null);
  return demo;
}

const lost = (problem) => { $("stream").textContent = problem.message; };
