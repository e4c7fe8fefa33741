// A whole run through one of the two TypeScript SDKs: `node drive.mjs old|new COMMAND ARGUMENTS…`.
// Prints one JSON line per step; the environment is passed on to the server.
import { Client as NewClient } from "@modelcontextprotocol/client";
import { StdioClientTransport as NewStdio } from "@modelcontextprotocol/client/stdio";
import { Client as OldClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as OldStdio } from "@modelcontextprotocol/sdk/client/stdio.js";

const [sdk, command, ...args] = process.argv.slice(2);
const [Client, Stdio] = sdk === "old" ? [OldClient, OldStdio] : [NewClient, NewStdio];
const client = new Client({ name: "typescript", version: "1.0.0" });
await client.connect(new Stdio({ command, args, env: process.env, stderr: "ignore" }));

const say = (step, value) => console.log(JSON.stringify({ step, value }));
const call = async (name, given) => {
  const answer = await client.callTool({ name, arguments: given });
  return answer.isError ? { error: answer.content[0].text } : answer.structuredContent;
};

say("tools", (await client.listTools()).tools.map((tool) => tool.name));
say("refused", await call("nnunet_training", { datset_id: 71 }));
const started = await call("nnunet_training", {
  dataset_id: 71, configuration: "3d_fullres", fold: "0", device: "cpu",
});
say("started", started);
let now;
do {
  now = await call("nnunet_progress", { run_id: started.run_id, wait_s: 10 });
} while (["queued", "running"].includes(now.status));
say("ended", now);
say("results", await call("nnunet_results", { run_id: started.run_id }));
say("resource", (await client.readResource({ uri: `nnunet://runs/${started.run_id}` })).contents[0].mimeType);
await client.close();
