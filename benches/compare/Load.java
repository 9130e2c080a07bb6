import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Load for the brokers under comparison, with Kafka's own Java client.
 *
 * <p>One command per line of standard input, one line of figures per command. The process stays alive between
 * commands, so that both brokers meet the same client, compiled by the same JIT.
 *
 * <pre>
 * produce BOOTSTRAP TOPIC RECORDS BYTES SECONDS [key=value ...]   as fast as it goes, until either limit
 * paced   BOOTSTRAP TOPIC RATE    BYTES SECONDS [key=value ...]   on a fixed clock
 * fetch   BOOTSTRAP TOPIC ROUNDS  [key=value ...]                 everything, from the beginning, ROUNDS times
 * </pre>
 */
public class Load {
    public static void main(String[] args) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] word = line.split(" ");
            try {
                System.out.println(switch (word[0]) {
                    case "produce" -> produce(word);
                    case "paced" -> paced(word);
                    case "fetch" -> fetch(word);
                    default -> throw new IllegalArgumentException(word[0]);
                });
            } catch (Exception error) {
                System.out.println("failed " + error.toString().replace('\n', ' '));
            }
        }
    }

    static Map<String, Object> settings(String[] word, int from) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", word[1]);
        for (int at = from; at < word.length; at++) {
            String[] pair = word[at].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        return settings;
    }

    /** Letters at random, as ProducerPerformance sends them; the same ones in each run. */
    static byte[] payload(int bytes) {
        byte[] payload = new byte[bytes];
        Random random = new Random(0);
        for (int at = 0; at < bytes; at++) {
            payload[at] = (byte) (random.nextInt(26) + 'A');
        }
        return payload;
    }

    static String produce(String[] word) throws Exception {
        String topic = word[2];
        long records = Long.parseLong(word[3]);
        byte[] payload = payload(Integer.parseInt(word[4]));
        AtomicReference<Exception> failure = new AtomicReference<>();
        AtomicLong acknowledged = new AtomicLong();
        try (var producer = new KafkaProducer<>(settings(word, 6), new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.partitionsFor(topic);
            long begin = System.nanoTime();
            long end = begin + (long) (Double.parseDouble(word[5]) * 1e9);
            for (long sent = 0; sent < records && System.nanoTime() < end && failure.get() == null; sent++) {
                producer.send(new ProducerRecord<>(topic, payload), (metadata, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    } else {
                        acknowledged.incrementAndGet();
                    }
                });
            }
            producer.flush();
            double seconds = (System.nanoTime() - begin) / 1e9;
            if (failure.get() != null) {
                throw failure.get();
            }
            long bytes = acknowledged.get() * payload.length;
            return "done records=" + acknowledged + " bytes=" + bytes + " seconds=" + seconds;
        }
    }

    /** Latency counts from the instant a record was due, so that a stall is felt by all records it holds back. */
    static String paced(String[] word) throws Exception {
        String topic = word[2];
        double rate = Double.parseDouble(word[3]);
        byte[] payload = payload(Integer.parseInt(word[4]));
        int records = (int) (rate * Double.parseDouble(word[5]));
        AtomicReference<Exception> failure = new AtomicReference<>();
        long[] latency = new long[records];
        try (var producer = new KafkaProducer<>(settings(word, 6), new ByteArraySerializer(), new ByteArraySerializer())) {
            producer.partitionsFor(topic);
            long begin = System.nanoTime();
            for (int at = 0; at < records && failure.get() == null; at++) {
                long due = begin + (long) (at * 1e9 / rate);
                for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
                    LockSupport.parkNanos(left);
                }
                int place = at;
                producer.send(new ProducerRecord<>(topic, payload), (metadata, error) -> {
                    latency[place] = System.nanoTime() - due;
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    }
                });
            }
            producer.flush();
            double seconds = (System.nanoTime() - begin) / 1e9;
            if (failure.get() != null) {
                throw failure.get();
            }
            double requests = producer.metrics().entrySet().stream()
                .filter(metric -> metric.getKey().name().equals("request-total") && metric.getKey().group().equals("producer-metrics"))
                .mapToDouble(metric -> (Double) metric.getValue().metricValue()).sum();
            Arrays.sort(latency);
            return "done records=" + records + " seconds=" + seconds + " requests=" + (long) requests
                + " p50_us=" + at(latency, 0.5) + " p99_us=" + at(latency, 0.99) + " p999_us=" + at(latency, 0.999)
                + " max_us=" + at(latency, 1.0);
        }
    }

    static long at(long[] sorted, double quantile) {
        return sorted[Math.min(sorted.length - 1, (int) (sorted.length * quantile))] / 1000;
    }

    static String fetch(String[] word) {
        String topic = word[2];
        long records = 0;
        long bytes = 0;
        double seconds = 0;
        for (int round = Integer.parseInt(word[3]); round > 0; round--) {
            try (var consumer = new KafkaConsumer<>(settings(word, 4), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                    .map(info -> new TopicPartition(topic, info.partition())).toList();
                consumer.assign(partitions);
                consumer.seekToBeginning(partitions);
                long left = consumer.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
                long begin = System.nanoTime();
                while (left > 0) {
                    var fetched = consumer.poll(Duration.ofSeconds(10));
                    if (fetched.isEmpty()) {
                        throw new IllegalStateException("10 s without a record, " + left + " missing");
                    }
                    for (var record : fetched) {
                        bytes += record.value().length;
                    }
                    records += fetched.count();
                    left -= fetched.count();
                }
                seconds += (System.nanoTime() - begin) / 1e9;
            }
        }
        return "done records=" + records + " bytes=" + bytes + " seconds=" + seconds;
    }
}
