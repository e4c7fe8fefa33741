// A chat's side of an MCP App, as small as it can be: the real AppBridge and a sandbox on another origin.
import { AppBridge, PostMessageTransport } from "@modelcontextprotocol/ext-apps/app-bridge";

const SANDBOX = "allow-scripts allow-same-origin allow-forms";

window.showApp = async ({ html, meta, input, result, context, sandboxUrl }) => {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", SANDBOX);
  frame.style = "display: block; width: 100%; height: 300px; border: 0";
  const ready = new Promise((resolve) => addEventListener("message", ({ source, data }) => {
    if (source === frame.contentWindow && data?.method === "ui/notifications/sandbox-proxy-ready") resolve();
  }));
  document.body.append(frame);
  frame.src = sandboxUrl;
  await ready;
  const abilities = { openLinks: {}, serverTools: {}, logging: {}, updateModelContext: { text: {} } };
  const bridge = new AppBridge(null, { name: "host-of-the-tests", version: "1" }, abilities, { hostContext: context });
  bridge.oncalltool = (params) => window.callServer(params);
  bridge.onupdatemodelcontext = async ({ content }) => { window.told = content; return {}; };
  bridge.onsizechange = ({ height }) => { if (height) frame.style.height = `${height}px`; };
  const initialized = new Promise((resolve) => { bridge.oninitialized = resolve; });
  await bridge.connect(new PostMessageTransport(frame.contentWindow, frame.contentWindow));
  await bridge.sendSandboxResourceReady({ html, csp: meta?.ui?.csp });
  await initialized;
  await bridge.sendToolInput({ arguments: input });
  await bridge.sendToolResult(result);
  window.changeContext = (changes) => bridge.setHostContext({ ...context, ...changes });
};
