import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's Java client on compacted topics; `compaction/clients.py` says what this program does. */
public class Table {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "write" -> write(args[1], args[2], args[3], Arrays.copyOfRange(args, 4, args.length));
            case "read" -> read(args[1], args[2], Path.of(args[3]), Arrays.copyOfRange(args, 4, args.length));
            case "keyless" -> keyless(args[1], args[2]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    private static KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec) {
        return new KafkaProducer<>(
            Map.of(
                "bootstrap.servers", bootstrap, "compression.type", codec, "acks", "all", "enable.idempotence", true,
                "linger.ms", 20, "reconnect.backoff.max.ms", 500),
            new ByteArraySerializer(), new ByteArraySerializer());
    }

    private static void write(String bootstrap, String topic, String codec, String[] folders) throws Exception {
        try (var producer = producer(bootstrap, codec)) {
            for (int number = 0; number < folders.length; number++) {
                if (number > 0) {
                    System.out.println("written");
                    System.out.flush();
                    while (System.in.read() != '\n') {
                    }
                }
                Map<Path, List<Future<RecordMetadata>>> sent = new HashMap<>();
                List<Path> files;
                try (var found = Files.list(Path.of(folders[number]))) {
                    files = found.filter(file -> file.toString().endsWith(".tsv")).sorted().toList();
                }
                for (Path file : files) {
                    int partition = Integer.parseInt(file.getFileName().toString().replace(".tsv", ""));
                    var futures = sent.computeIfAbsent(file.resolveSibling(partition + ".acks"), none -> new ArrayList<>());
                    try (var lines = Files.lines(file, StandardCharsets.UTF_8)) {
                        for (String line : (Iterable<String>) lines::iterator) {
                            String[] column = line.split("\t", 4);
                            byte[] value = column.length > 3 ? bytes(column[3]) : null;
                            List<Header> headers = List.of(new RecordHeader("row", bytes(column[2])));
                            futures.add(producer.send(new ProducerRecord<>(
                                topic, partition, Long.parseLong(column[0]), bytes(column[1]), value, headers)));
                        }
                    }
                }
                producer.flush();
                for (var entry : sent.entrySet()) {
                    var offsets = new StringBuilder();
                    for (var future : entry.getValue()) {
                        offsets.append(future.get().offset()).append('\n');
                    }
                    Files.writeString(entry.getKey(), offsets);
                }
            }
        }
    }

    private static void read(String bootstrap, String isolation, Path target, String[] topics) throws Exception {
        Map<String, Object> config = Map.of(
            "bootstrap.servers", bootstrap, "enable.auto.commit", false, "check.crcs", true, "isolation.level", isolation);
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            for (String topic : topics) {
                Files.createDirectories(target.resolve(topic));
                var partitions = consumer.partitionsFor(topic).stream().map(info -> new TopicPartition(topic, info.partition())).toList();
                Map<TopicPartition, OutputStream> files = new HashMap<>();
                for (var partition : partitions) {
                    Path path = target.resolve(topic).resolve(partition.partition() + ".tsv");
                    files.put(partition, new BufferedOutputStream(Files.newOutputStream(path)));
                }
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                var ends = consumer.endOffsets(partitions);
                long deadline = System.nanoTime() + 60_000_000_000L;
                while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                    if (System.nanoTime() > deadline) {
                        throw new IllegalStateException(topic + " was not read to its end after 60 s: " + ends + ", at "
                            + partitions.stream().map(consumer::position).map(String::valueOf).collect(Collectors.joining(" ")));
                    }
                    for (var row : consumer.poll(Duration.ofMillis(100))) {
                        OutputStream file = files.get(new TopicPartition(row.topic(), row.partition()));
                        file.write(bytes(row.offset() + "\t" + row.timestamp() + "\t"));
                        file.write(row.key());
                        file.write('\t');
                        file.write(row.headers().lastHeader("row").value());
                        if (row.value() != null) {
                            file.write('\t');
                            file.write(row.value());
                        }
                        file.write('\n');
                    }
                }
                for (var file : files.values()) {
                    file.close();
                }
            }
        }
    }

    private static void keyless(String bootstrap, String topic) throws Exception {
        try (var producer = producer(bootstrap, "none")) {
            for (byte[] key : new byte[][] {bytes("first"), null, bytes("last")}) {
                try {
                    System.out.println("ok " + producer.send(new ProducerRecord<>(topic, 0, key, bytes("value"))).get().offset());
                } catch (ExecutionException failure) {
                    System.out.println("error " + failure.getCause().getClass().getSimpleName());
                }
                System.out.flush();
            }
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
