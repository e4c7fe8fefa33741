// In a browser, the page's side: the same tool calls as in a chat, sent to the server that the page came from.
const ANSWER_WITHIN_MS = 60000;
const KEPT_AS = "nnunet-token";
const NO_TOKEN = "The server wants its token. Open the address that it printed at its start, or enter the token.";
const GONE = "The server does not answer. Runs go on without it; this page tries again by itself.";

function connectTo() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  // The tab keeps the token, and no other port of this machine is sent it. The address is cleaned.
  if (given) sessionStorage.setItem(KEPT_AS, given);
  if (location.hash) history.replaceState(null, "", location.pathname);

  async function ask(tool, args) {
    const bearer = `Bearer ${sessionStorage.getItem(KEPT_AS) ?? ""}`;
    const headers = { "Content-Type": "application/json", Authorization: bearer };
    const body = JSON.stringify({ tool, arguments: args });
    try {
      return await fetch("/call", { method: "POST", headers, body, signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    } catch {
      throw new Error(GONE);
    }
  }

  function tokenForm(again) {
    const input = make("input", { type: "password", id: "token", "data-key": "token", autocomplete: "off" });
    const enter = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT_AS, input.value.trim());
      again();
    };
    const button = make("button", { type: "submit", "data-key": "enter" }, "Enter");
    return make("form", { class: "buttons", onsubmit: enter }, make("label", { for: "token" }, "Token"), input, button);
  }

  return {
    asksFirst: true,
    firstRuns: 50,
    triesAgainAfterS: 3,
    looksAgainAfterS: 30, // for runs that are started elsewhere
    request: async () => ({}),
    async call(name, args) {
      const answer = await ask(name, args);
      if (answer.status === 401) throw Object.assign(new Error(NO_TOKEN), { form: tokenForm });
      if (!answer.ok) throw new Error(answer.status < 500 ? await answer.text() : GONE);
      return answer.json();
    },
    start: async () => ({ hostCapabilities: { serverTools: {} }, hostContext: {} }),
  };
}
