import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Transactions with Kafka's Java client, of whichever version is on the class path.
 *
 * <pre>
 * Transactions BOOTSTRAP
 * Transactions BOOTSTRAP copy GROUP INPUT OUTPUT TRANSACTIONAL_ID SIZE STOP
 * </pre>
 *
 * The first obeys commands on standard input, the second copies; `transactions/programs.py` says what both are.
 */
public class Transactions {
    private final String bootstrap;
    private final Map<String, KafkaProducer<byte[], byte[]>> producers = new HashMap<>();

    Transactions(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    public static void main(String[] args) throws Exception {
        var program = new Transactions(args[0]);
        if (args.length > 1) {
            program.copy(args[2], args[3], args[4], args[5], Integer.parseInt(args[6]), Path.of(args[7]));
            return;
        }
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            System.out.println(program.answer(line.split(" ")));
            System.out.flush();
        }
        // Producers are not closed: that would end their transactions.
        Runtime.getRuntime().halt(0);
    }

    private String answer(String[] words) throws Exception {
        try {
            return ("ok " + obey(words)).strip();
        } catch (ExecutionException | KafkaException failure) {
            Throwable cause = failure;
            while (cause.getCause() instanceof KafkaException deeper) {
                cause = deeper;
            }
            String what = cause.getClass().getSimpleName();
            return "error " + what + " " + String.valueOf(cause.getMessage()).replace('\n', ' ');
        }
    }

    private String obey(String[] words) throws Exception {
        switch (words[0]) {
            case "init" -> {
                var producer = producer(words[2], words[3]);
                producers.put(words[1], producer);
                producer.initTransactions();
            }
            case "begin" -> producers.get(words[1]).beginTransaction();
            case "send" -> {
                int first = Integer.parseInt(words[5]);
                send(producers.get(words[1]), words[2], Integer.parseInt(words[3]), Path.of(words[4]), first, Integer.parseInt(words[6]));
            }
            case "offsets" -> {
                var partition = new TopicPartition(words[3], Integer.parseInt(words[4]));
                var offsets = Map.of(partition, new OffsetAndMetadata(Long.parseLong(words[5])));
                producers.get(words[1]).sendOffsetsToTransaction(offsets, new ConsumerGroupMetadata(words[2]));
            }
            case "commit" -> producers.get(words[1]).commitTransaction();
            case "abort" -> producers.get(words[1]).abortTransaction();
            case "read" -> read(words[1], Integer.parseInt(words[2]), words[3], Integer.parseInt(words[4]), Path.of(words[5]));
            case "ends" -> {
                try (var consumer = consumer(words[3], Map.of())) {
                    var ends = consumer.endOffsets(partitions(words[1], Integer.parseInt(words[2])));
                    return partitions(words[1], ends.size()).stream().map(p -> ends.get(p).toString()).collect(Collectors.joining(" "));
                }
            }
            default -> throw new IllegalArgumentException(String.join(" ", words));
        }
        return "";
    }

    private KafkaProducer<byte[], byte[]> producer(String transactionalId, String timeout) {
        return new KafkaProducer<>(
            Map.of(
                "bootstrap.servers", bootstrap,
                "transactional.id", transactionalId,
                "transaction.timeout.ms", timeout,
                "linger.ms", 5,
                "reconnect.backoff.max.ms", 500),
            new ByteArraySerializer(), new ByteArraySerializer());
    }

    private KafkaConsumer<byte[], byte[]> consumer(String isolation, Map<String, Object> more) {
        var config = new HashMap<String, Object>(Map.of(
            "bootstrap.servers", bootstrap,
            "isolation.level", isolation,
            "enable.auto.commit", false,
            "auto.offset.reset", "earliest",
            "reconnect.backoff.max.ms", 500,
            "fetch.max.wait.ms", 100));
        config.putAll(more);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static List<TopicPartition> partitions(String topic, int count) {
        return IntStream.range(0, count).mapToObj(number -> new TopicPartition(topic, number)).toList();
    }

    private void send(KafkaProducer<byte[], byte[]> producer, String topic, int partition, Path file, int first, int count) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var lines = Files.lines(file, StandardCharsets.UTF_8)) {
            lines.skip(first).limit(count).forEach(line -> {
                String[] columns = line.split("\t", 3);
                byte[] key = columns[1].getBytes(StandardCharsets.UTF_8), value = columns[2].getBytes(StandardCharsets.UTF_8);
                sent.add(producer.send(new ProducerRecord<>(topic, partition, Long.parseLong(columns[0]), key, value)));
            });
        }
        producer.flush();
        for (var each : sent) {
            each.get();
        }
    }

    private void read(String topic, int count, String isolation, int wanted, Path directory) throws Exception {
        try (var consumer = consumer(isolation, Map.of())) {
            var partitions = partitions(topic, count);
            List<BufferedWriter> files = new ArrayList<>();
            for (var partition : partitions) {
                files.add(Files.newBufferedWriter(directory.resolve(partition.partition() + ".tsv")));
            }
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long now = System.nanoTime(), giveUp = now + 30_000_000_000L, enough = Long.MAX_VALUE;
            for (int got = 0; now < Math.min(giveUp, enough); now = System.nanoTime()) {
                for (var record : consumer.poll(Duration.ofMillis(100))) {
                    String key = new String(record.key(), StandardCharsets.UTF_8), value = new String(record.value(), StandardCharsets.UTF_8);
                    files.get(record.partition()).write(record.offset() + "\t" + record.timestamp() + "\t" + key + "\t" + value + "\n");
                    got++;
                }
                if (got >= wanted && enough == Long.MAX_VALUE) {
                    enough = System.nanoTime() + 300_000_000L;
                }
            }
            for (var file : files) {
                file.close();
            }
        }
    }

    private void copy(String group, String input, String output, String transactionalId, int size, Path stop) {
        var producer = producer(transactionalId, "60000");
        producer.initTransactions();
        var consumer = consumer("read_committed", Map.of(
            "group.id", group, "max.poll.records", size, "session.timeout.ms", 3000, "heartbeat.interval.ms", 500));
        consumer.subscribe(List.of(input));
        for (int transactions = 0; !Files.exists(stop); ) {
            var records = consumer.poll(Duration.ofMillis(100));
            if (records.isEmpty()) {
                continue;
            }
            producer.beginTransaction();
            try {
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (var record : records) {
                    producer.send(new ProducerRecord<>(output, record.partition(), record.key(), record.value()));
                    next.put(new TopicPartition(input, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                if (++transactions % 3 == 0) {
                    producer.abortTransaction();
                    rewind(consumer, consumer.assignment());
                } else {
                    producer.commitTransaction();
                }
            } catch (ProducerFencedException fenced) {
                throw fenced;
            } catch (KafkaException overtaken) {
                // A rebalance, or the broker was away for too long: what was read is read again.
                System.err.println("a transaction is given up: " + overtaken);
                producer.abortTransaction();
                rewind(consumer, consumer.assignment());
            }
        }
        consumer.close();
        producer.close();
    }

    private static void rewind(KafkaConsumer<byte[], byte[]> consumer, Collection<TopicPartition> partitions) {
        var committed = consumer.committed(new HashSet<>(partitions));
        for (var partition : partitions) {
            var offset = committed.get(partition);
            consumer.seek(partition, offset == null ? 0 : offset.offset());
        }
    }
}
