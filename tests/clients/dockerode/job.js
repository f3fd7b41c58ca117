// What a program does with dockerode: run, exec, logs, stats, events, files, images, volumes.
// Prints a JSON object of what it found, for test_dockerode.py to look at.
"use strict";
const Docker = require("dockerode");
const { PassThrough } = require("stream");

const IMAGE = "busybox";
const docker = new Docker({ socketPath: process.argv[2] });

function text(stream) {
  return new Promise((resolve, reject) => {
    const parts = [];
    stream.on("data", (part) => parts.push(part));
    stream.on("end", () => resolve(Buffer.concat(parts).toString()));
    stream.on("error", reject);
  });
}

// Take a framed stream apart into what went to standard output and to standard error.
async function parted(stream) {
  const out = new PassThrough();
  const err = new PassThrough();
  docker.modem.demuxStream(stream, out, err);
  stream.on("end", () => { out.end(); err.end(); });
  stream.on("close", () => { out.end(); err.end(); });
  return Promise.all([text(out), text(err)]);
}

async function main() {
  const found = {};
  found.version = (await docker.version()).ApiVersion;
  const events = await docker.getEvents({ filters: JSON.stringify({ type: ["container"] }) });
  const seen = [];
  events.on("data", (lines) => {
    for (const line of lines.toString().split("\n").filter(Boolean)) {
      seen.push(JSON.parse(line).Action);
    }
  });

  const output = new PassThrough();
  const gathered = text(output);
  const [ended, ran] = await docker.run(IMAGE, ["sh", "-c", "echo hello; exit 3"], output, {});
  output.end();
  found.run = [ended.StatusCode, (await gathered).trim()];
  await ran.remove();

  const volume = await docker.createVolume({ Name: "data", Labels: { a: "b" } });
  const container = await docker.createContainer({
    Image: IMAGE,
    name: "box",
    Cmd: ["sh", "-c", "read line; echo got $line; sleep 1000"],
    OpenStdin: true,
    HostConfig: { Init: true, Memory: 128 << 20, Mounts: [{ Type: "volume", Source: "data", Target: "/data" }] },
  });
  const attached = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
  const line = new Promise((resolve) => attached.once("data", (data) => resolve(data.subarray(8).toString())));
  await container.start();
  attached.write("it\n");
  found.attach = (await line).trim();
  attached.destroy();

  const exec = await container.exec({ Cmd: ["sh", "-c", "echo out; echo err >&2; exit 4"], AttachStdout: true, AttachStderr: true });
  found.exec = await parted(await exec.start({ hijack: true, stdin: false }));
  found.exitCode = (await exec.inspect()).ExitCode;
  found.logs = (await container.logs({ stdout: true, follow: false })).subarray(8).toString().trim();
  found.memory = (await container.stats({ stream: false })).memory_stats.limit;
  found.listed = (await docker.listContainers({ filters: { name: ["box"] } })).map((each) => each.Names[0]);
  const saved = await docker.getImage(IMAGE).get();
  const loaded = await docker.loadImage(saved);
  found.loaded = (await text(loaded)).includes("Loaded image");
  await container.stop({ t: 1 });
  await container.remove();
  await volume.remove();
  try {
    await container.inspect();
  } catch (error) {
    found.gone = [error.statusCode, error.json.message];
  }
  events.destroy();
  found.events = [...new Set(seen)];
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
