// Prints the events of your executions in Node, with the official packages of NATS.
//
//     cd examples/subscribe && npm install && node subscribe.mjs
//
// BLOCKYARD_NATS_URL is where, as `subscriber.<user>`: `subscriber_url` in ~/.blockyard/dev/state.json for the stack of
// `blockyard dev`. BLOCKYARD_USER is whose events, BLOCKYARD_PROTO where proto/ of Blockyard is.
import path from "node:path";
import { fileURLToPath } from "node:url";
import { AckPolicy, DeliverPolicy, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import protobuf from "protobufjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const protos = process.env.BLOCKYARD_PROTO ?? path.join(here, "..", "..", "proto");
const user = process.env.BLOCKYARD_USER ?? "developer";
const stream = "SUBSCRIBED";
const consumer = "example-node";
const subject = `blockyard.event.${user.replaceAll(".", "%2E")}.*.*`;

const root = new protobuf.Root();
root.resolvePath = (_, target) => path.join(protos, target);
await root.load("blockyard/event/v1/event.proto");
const EventBatch = root.lookupType("blockyard.event.v1.EventBatch");
const EventKind = root.lookupEnum("blockyard.event.v1.EventKind");

const url = new URL(process.env.BLOCKYARD_NATS_URL);
const nats = await connect({
  servers: url.host,
  user: decodeURIComponent(url.username),
  pass: decodeURIComponent(url.password),
  maxReconnectAttempts: -1,
});

// The account of a subscriber is its own: it makes its stream, into which its user's events come, and its consumer.
const manager = await jetstreamManager(nats);
const absent = (error) => {
  if (error.status !== 404 && !/not found/.test(error.message)) throw error;
  return null;
};
if ((await manager.streams.info(stream).catch(absent)) === null) {
  const day = 24 * 3600 * 1e9;
  await manager.streams.add({ name: stream, subjects: [subject], max_age: day, max_bytes: 512 << 20 });
}
if ((await manager.consumers.info(stream, consumer).catch(absent)) === null) {
  await manager.consumers.add(stream, {
    durable_name: consumer,
    filter_subject: subject,
    ack_policy: AckPolicy.Explicit,
    deliver_policy: DeliverPolicy.New,
  });
}
console.error("subscribed");

// At least once: what is not above the last sequence of an execution was here before. A sequence that jumps was lost
// on the way, and ListEvents has it (GET /api/executions/<id>/events over REST). Keep these where your effects are.
const last = new Map();
const messages = await (await jetstream(nats).consumers.get(stream, consumer)).consume();
for await (const message of messages) {
  const batch = EventBatch.decode(message.data);
  for (const event of batch.events) {
    const sequence = Number(event.sequence);
    const seen = last.get(batch.executionId) ?? 0;
    if (sequence <= seen) continue;
    if (sequence > seen + 1) console.error(`${batch.executionId}: ${seen + 1} to ${sequence - 1} are missing`);
    last.set(batch.executionId, sequence);
    console.log(batch.executionId, sequence, EventKind.valuesById[event.kind]?.replace("EVENT_KIND_", "") ?? event.kind);
  }
  message.ack();
}
