// kafkajs (old, non-flexible protocol versions): writes the flights, then asks for the topic's offsets.
//
//   node flights.js write BOOTSTRAP TOPIC CODEC INPUT_DIR
//
// Reading is left to other clients: kafkajs consumes only as a member of a group.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = require("kafkajs");

// Uncompressed, well under the broker's default limit of 1 MiB for one batch.
const BATCH = 2000;

// kafkajs ships gzip; the other codecs are plugged in, all of them without native code.
async function plugIn(codec) {
  if (codec === "snappy") {
    CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
  } else if (codec === "lz4") {
    const lz4 = require("lz4js");
    const xxh32 = require("lz4js/xxh32.js");
    CompressionCodecs[CompressionTypes.LZ4] = () => ({
      compress: async (encoder) => {
        const frame = Buffer.from(lz4.compress(encoder.buffer));
        // The library leaves the flag "blocks are independent" out, and Kafka's decoder refuses such frames. Its blocks
        // hold 4 MiB, so this frame has one, which is independent: say so, and renew the header's checksum.
        frame[4] |= 0x20;
        frame[6] = (xxh32.hash(0, frame, 4, 2) >> 8) & 0xff;
        return frame;
      },
      decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
    });
  } else if (codec === "zstd") {
    const zstd = await new Promise((resolve) => require("zstd-codec").ZstdCodec.run((found) => resolve(new found.Simple())));
    CompressionCodecs[CompressionTypes.ZSTD] = () => ({
      compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
      decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
    });
  }
}

const TYPES = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

async function write(bootstrap, topic, codec, source) {
  await plugIn(codec);
  const kafka = new Kafka({ clientId: "kafkajs-flights", brokers: [bootstrap], logLevel: logLevel.WARN });
  const producer = kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner: Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  const wanted = new Map();
  for (const name of fs.readdirSync(source).sort()) {
    const partition = Number.parseInt(path.parse(name).name, 10);
    const lines = fs.readFileSync(path.join(source, name), "utf8").split("\n").slice(0, -1);
    wanted.set(partition, lines.length);
    for (let start = 0; start < lines.length; start += BATCH) {
      const messages = lines.slice(start, start + BATCH).map((line) => {
        const [timestamp, key, value] = line.split("\t", 3);
        return { partition, timestamp, key, value };
      });
      const [answer] = await producer.send({ topic, acks: -1, compression: TYPES[codec], messages });
      if (answer.errorCode !== 0 || Number(answer.baseOffset) !== start) {
        throw new Error(`partition ${partition}: expected offset ${start}, got ${JSON.stringify(answer)}`);
      }
    }
  }
  await producer.disconnect();

  const admin = kafka.admin();
  await admin.connect();
  for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
    if (low !== "0" || high !== String(wanted.get(partition))) {
      throw new Error(`partition ${partition}: offsets ${low}..${high}, ${wanted.get(partition)} records were sent`);
    }
  }
  await admin.disconnect();
}

const [command, ...rest] = process.argv.slice(2);
if (command !== "write" || rest.length !== 4) {
  console.error("usage: node flights.js write BOOTSTRAP TOPIC CODEC INPUT_DIR");
  process.exit(2);
}
write(...rest).catch((error) => {
  console.error(error);
  process.exit(1);
});
