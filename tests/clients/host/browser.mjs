// A browser, and where the page is in a chat an MCP client and a host, in one process that is told what to do by JSON
// lines on stdin; see tests/kit/browser.py.
import { readFileSync, mkdtempSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { build } from "esbuild";
import { chromium } from "playwright-core";

const HERE = import.meta.dirname;
const MIME = "text/html;profile=mcp-app";
// What the specification (2026-01-26) prescribes for an app that asks for no origins of its own.
const CSP = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; " +
  "img-src 'self' data:; media-src 'self' data:; connect-src 'none'; frame-src 'self'";
const QUIET = [
  "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
  "--disable-sync",
];
const errors = [];
let client, context, page;
const servers = [];

// In a host the page is a frame within a frame; a browser shows it itself.
const app = () => page.frames().find((frame) => frame.parentFrame()?.parentFrame()) ?? page.mainFrame();

function serve(text, headers = {}) {
  const all = { "content-type": "text/html; charset=utf-8", ...headers };
  const server = createServer((_, answer) => answer.writeHead(200, all).end(text));
  servers.push(server);
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

async function hostPage() {
  const entry = { entryPoints: [join(HERE, "host.js")], logLevel: "error" };
  const bundle = await build({ ...entry, bundle: true, format: "esm", write: false });
  const script = bundle.outputFiles[0].text.replaceAll("</script", "<\\/script");
  const head = '<!doctype html><html lang="en"><head><title>Host</title></head><body style="margin:0">';
  return `${head}<script type="module">${script}</script></body></html>`;
}

async function window({ chrome, theme, width, height, profile }) {
  const options = { executablePath: chrome, headless: true, args: QUIET, viewport: { width, height }, colorScheme: theme };
  context = await chromium.launchPersistentContext(profile ?? mkdtempSync(join(tmpdir(), "browser-")), options);
  page = await context.newPage();
  // Chromium warns of every sandbox proxy that is made as the specification wants it.
  const expected = (text) => text.includes("escape its sandboxing");
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !expected(message.text())) errors.push(message.text());
  });
  page.on("pageerror", (error) => errors.push(String(error)));
}

const commands = {
  async visit({ url, ...given }) {
    await window(given);
    await page.goto(url);
    return null;
  },
  async open({ server, chrome, tool, input, theme, width, height }) {
    const extensions = { "io.modelcontextprotocol/ui": { mimeTypes: [MIME] } };
    client = new Client({ name: "host-of-the-tests", version: "1" }, { capabilities: { extensions } });
    await client.connect(new StdioClientTransport(server));
    const { tools } = await client.listTools();
    const uri = tools.find(({ name }) => name === tool)._meta.ui.resourceUri;
    const { contents: [resource] } = await client.readResource({ uri });
    if (resource.mimeType !== MIME) throw new Error(`the page is served as ${resource.mimeType}`);
    const result = await client.callTool({ name: tool, arguments: input });
    await window({ chrome, width, height });
    await page.exposeFunction("callServer", (params) => client.callTool(params));
    const hostPort = await serve(await hostPage());
    const sandbox = readFileSync(join(HERE, "sandbox.html"), "utf8");
    const sandboxPort = await serve(sandbox, { "content-security-policy": CSP });
    await page.goto(`http://127.0.0.1:${hostPort}/`);
    const app = { html: resource.text, meta: resource._meta, sandboxUrl: `http://localhost:${sandboxPort}/` };
    const given = { ...app, input, result, context: { theme, displayMode: "inline" } };
    await page.evaluate((all) => window.showApp(all), given);
    return { bytes: resource.text.length };
  },
  press: ({ key }) => page.keyboard.press(key),
  run: ({ script }) => app().evaluate(script),
  host: ({ script }) => page.evaluate(script),
  // The page's policy forbids eval, and with it Playwright's own waitForFunction.
  async wait({ script, timeout }) {
    const end = Date.now() + timeout;
    while (!(await app()?.evaluate(script))) {
      if (Date.now() > end) throw new Error(`still not so: ${script}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return null;
  },
  size: ({ width, height }) => page.setViewportSize({ width, height }),
  // A frame of another origin is painted only as far as the window shows it.
  async picture({ path }) {
    const { width } = page.viewportSize();
    const whole = "document.querySelector('iframe')?.offsetHeight ?? document.documentElement.scrollHeight";
    const height = await page.evaluate(whole);
    await page.setViewportSize({ width, height });
    await app().evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))");
    await page.screenshot({ path });
    return null;
  },
  errors: () => errors,
  async audit() {
    await app().evaluate(readFileSync(join(HERE, "..", "node_modules", "axe-core", "axe.min.js"), "utf8"));
    const { violations } = await app().evaluate("axe.run(document)");
    const where = (nodes) => nodes.map((node) => node.html.slice(0, 120)).join(" | ");
    return violations.map(({ id, nodes }) => `${id}: ${where(nodes)}`);
  },
  async close() {
    await context?.close();
    await client?.close();
    servers.forEach((server) => server.close());
    return null;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...parameters } = JSON.parse(line);
  const answer = {};
  try {
    answer.value = (await commands[command](parameters)) ?? null;
  } catch (error) {
    answer.error = String(error);
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
  if (command === "close") break;
}
