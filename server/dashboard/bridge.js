// MCP Apps, the page's side: JSON-RPC with the host through postMessage.
const ANSWER_WITHIN_MS = 60000;

function connectTo(handlers) {
  const waiting = new Map();
  let last = 0;
  // The page cannot know its host's origin; the host checks whose message it is.
  const post = (message) => parent.postMessage({ jsonrpc: "2.0", ...message }, "*");

  function request(method, params) {
    return new Promise((resolve, reject) => {
      const id = ++last;
      const late = setTimeout(() => settle({ id, error: { message: "The host did not answer." } }), ANSWER_WITHIN_MS);
      waiting.set(id, { resolve, reject, late });
      post({ id, method, params });
    });
  }

  function settle({ id, result, error }) {
    const asked = waiting.get(id);
    if (!asked) return;
    waiting.delete(id);
    clearTimeout(asked.late);
    if (error) asked.reject(new Error(error.message));
    else asked.resolve(result);
  }

  function answer({ id, method, params }) {
    const known = method === "ping" || handlers[method];
    if (!known) return post({ id, error: { code: -32601, message: "Method not found" } });
    handlers[method]?.(params ?? {});
    post({ id, result: {} });
  }

  addEventListener("message", ({ source, data }) => {
    if (source !== parent || data?.jsonrpc !== "2.0") return;
    if (data.method === undefined) settle(data);
    else if (data.id === undefined) handlers[data.method]?.(data.params ?? {});
    else answer(data);
  });

  function tellSize() {
    const { width, height } = document.documentElement.getBoundingClientRect();
    post({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
  }

  return {
    firstRuns: 10,
    triesAgainAfterS: 15,
    looksAgainAfterS: 0, // a chat that starts a run shows a new page
    request,
    call: (name, args) => request("tools/call", { name, arguments: args }),
    async start(appInfo) {
      const host = await request("ui/initialize", { protocolVersion: "2026-01-26", appInfo, appCapabilities: {} });
      post({ method: "ui/notifications/initialized" });
      new ResizeObserver(tellSize).observe(document.documentElement);
      return host;
    },
  };
}
