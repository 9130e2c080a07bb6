import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Load on the storage of the brokers under comparison, with Kafka's own Java client. The protocol is that of {@code Load}: one
 * command per line of standard input, one line of figures per command, and the process stays alive.
 *
 * <pre>
 * spread BOOTSTRAP TOPIC PRODUCERS PARTITIONS BYTES SECONDS MOST [key=value ...]  as fast as it goes, to each partition in turn
 * single BOOTSTRAP TOPIC RATE BYTES SECONDS PROBE_FILE [key=value ...]      one record at a time, a write of the disk's own between
 * traced BOOTSTRAP TOPIC RATE BYTES SECONDS TRACE_FILE [key=value ...]      on a fixed clock; when and how long goes into a file
 * keyed  BOOTSTRAP TOPIC RECORDS KEYS BYTES [key=value ...]                 a compacted topic's records
 * verify BOOTSTRAP TOPIC END KEYS                                          that the latest record of each key below END is there
 * latest FILE RECORDS KEYS                                                 that a file's lines are keys and where their latest records are
 * </pre>
 *
 * {@code spread} counts what is acknowledged in a window of SECONDS that begins when the producers are under way, or ends when
 * MOST bytes are acknowledged. {@code keyed} writes RECORDS records to partition 0 of an empty topic whose keys are chosen at random from
 * KEYS, the same ones in each run; {@code verify} knows from that where the latest record of each key must be.
 */
public class Storage {
    public static void main(String[] args) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] word = line.split(" ");
            try {
                System.out.println(switch (word[0]) {
                    case "spread" -> spread(word);
                    case "single" -> single(word);
                    case "traced" -> traced(word);
                    case "keyed" -> keyed(word);
                    case "verify" -> verify(word);
                    case "latest" -> latest(word);
                    default -> throw new IllegalArgumentException(word[0]);
                });
            } catch (Exception error) {
                System.out.println("failed " + error.toString().replace('\n', ' '));
            }
        }
    }

    static KafkaProducer<byte[], byte[]> producer(String[] word, int from) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", word[1]);
        for (int at = from; at < word.length; at++) {
            String[] pair = word[at].split("=", 2);
            settings.put(pair[0], pair[1]);
        }
        return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Letters at random, as ProducerPerformance sends them; the same ones in each run. */
    static byte[] letters(int bytes) {
        byte[] letters = new byte[bytes];
        Random random = new Random(0);
        for (int at = 0; at < bytes; at++) {
            letters[at] = (byte) (random.nextInt(26) + 'A');
        }
        return letters;
    }

    static String spread(String[] word) throws Exception {
        String topic = word[2];
        int producers = Integer.parseInt(word[3]);
        int partitions = Integer.parseInt(word[4]);
        byte[] payload = letters(Integer.parseInt(word[5]));
        double seconds = Double.parseDouble(word[6]);
        long most = Long.parseLong(word[7]);
        AtomicLong acknowledged = new AtomicLong();
        AtomicReference<Exception> failure = new AtomicReference<>();
        AtomicReference<Boolean> over = new AtomicReference<>(false);
        Callback callback = (metadata, error) -> {
            if (error == null) {
                acknowledged.addAndGet(payload.length);
            } else if (!over.get()) {
                failure.compareAndSet(null, error);
            }
        };
        List<KafkaProducer<byte[], byte[]>> open = new ArrayList<>();
        List<Thread> threads = new ArrayList<>();
        try {
            for (int number = 0; number < producers; number++) {
                var one = producer(word, 8);
                open.add(one);
                one.partitionsFor(topic);
                int first = number * partitions / producers;
                threads.add(new Thread(() -> {
                    try {
                        for (int at = first; !over.get() && failure.get() == null; at++) {
                            one.send(new ProducerRecord<>(topic, at % partitions, null, payload), callback);
                        }
                    } catch (Exception error) {
                        if (!over.get()) {
                            failure.compareAndSet(null, error);
                        }
                    }
                }));
            }
            threads.forEach(Thread::start);
            long patience = System.nanoTime() + 60_000_000_000L;
            while (acknowledged.get() == 0 && failure.get() == null) {
                if (System.nanoTime() > patience) {
                    throw new IllegalStateException("nothing was acknowledged in a minute");
                }
                Thread.sleep(5);
            }
            // Under way: the buffers are full, and what follows is what the broker can take.
            Thread.sleep(700);
            long before = acknowledged.get();
            long begin = System.nanoTime();
            long end = begin + (long) (seconds * 1e9);
            // A window without any answer is longer, not without a figure.
            while ((System.nanoTime() < end || acknowledged.get() == before) && acknowledged.get() - before < most && failure.get() == null) {
                if (System.nanoTime() > end + 60_000_000_000L) {
                    throw new IllegalStateException("nothing was acknowledged in a minute");
                }
                Thread.sleep(5);
            }
            long bytes = acknowledged.get() - before;
            double took = (System.nanoTime() - begin) / 1e9;
            double requests = 0;
            for (var one : open) {
                requests += one.metrics().entrySet().stream()
                    .filter(metric -> metric.getKey().name().equals("request-total") && metric.getKey().group().equals("producer-metrics"))
                    .mapToDouble(metric -> (Double) metric.getValue().metricValue()).sum();
            }
            if (failure.get() != null) {
                throw failure.get();
            }
            return "done bytes=" + bytes + " records=" + bytes / payload.length + " seconds=" + took + " total=" + acknowledged
                + " requests=" + (long) requests;
        } finally {
            over.set(true);
            // What waits in the buffers is of no interest.
            open.forEach(one -> one.close(Duration.ZERO));
            for (Thread thread : threads) {
                thread.join();
            }
        }
    }

    /** The answer to each record is awaited; half an interval later the disk itself appends as many bytes and syncs them. */
    static String single(String[] word) throws Exception {
        double rate = Double.parseDouble(word[3]);
        byte[] payload = letters(Integer.parseInt(word[4]));
        int untimed = 20;
        int records = untimed + (int) (rate * Double.parseDouble(word[5]));
        Path file = Path.of(word[6]);
        long[] answers = new long[records - untimed];
        long[] syncs = new long[records - untimed];
        try (var producer = producer(word, 7);
             var probe = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE, StandardOpenOption.APPEND)) {
            long begin = System.nanoTime();
            for (int at = 0; at < records; at++) {
                sleepUntil(begin + (long) (at * 1e9 / rate));
                long sent = System.nanoTime();
                producer.send(new ProducerRecord<>(word[2], 0, null, payload)).get();
                long answer = System.nanoTime() - sent;
                sleepUntil(begin + (long) ((at + 0.5) * 1e9 / rate));
                sent = System.nanoTime();
                // As many bytes as the batch has on the broker's disk, but for a few.
                probe.write(ByteBuffer.wrap(letters(payload.length + 70)));
                probe.force(false);
                long sync = System.nanoTime() - sent;
                if (at >= untimed) {
                    answers[at - untimed] = answer;
                    syncs[at - untimed] = sync;
                }
            }
        } finally {
            Files.deleteIfExists(file);
        }
        return "done records=" + answers.length + figures("ack", answers) + figures("disk", syncs);
    }

    static void sleepUntil(long due) {
        for (long left = due - System.nanoTime(); left > 0; left = due - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }

    static String figures(String name, long[] nanos) {
        Arrays.sort(nanos);
        StringBuilder told = new StringBuilder();
        Map.of("p50", 0.5, "p99", 0.99, "p999", 0.999, "max", 1.0).forEach((which, quantile) -> {
            long value = nanos[Math.min(nanos.length - 1, (int) (nanos.length * quantile))] / 1000;
            told.append(' ').append(name).append('_').append(which).append("_us=").append(value);
        });
        return told.toString();
    }

    /** Each line of the file: when a record was due, in microseconds since 1970, and how long its answer took from then. */
    static String traced(String[] word) throws Exception {
        double rate = Double.parseDouble(word[3]);
        byte[] payload = letters(Integer.parseInt(word[4]));
        int records = (int) (rate * Double.parseDouble(word[5]));
        long[] latency = new long[records];
        AtomicReference<Exception> failure = new AtomicReference<>();
        long began;
        try (var producer = producer(word, 7)) {
            producer.partitionsFor(word[2]);
            began = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
            long begin = System.nanoTime();
            for (int at = 0; at < records && failure.get() == null; at++) {
                long due = begin + (long) (at * 1e9 / rate);
                sleepUntil(due);
                int place = at;
                producer.send(new ProducerRecord<>(word[2], 0, null, payload), (metadata, error) -> {
                    latency[place] = System.nanoTime() - due;
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    }
                });
            }
            producer.flush();
        }
        if (failure.get() != null) {
            throw failure.get();
        }
        try (var file = new PrintWriter(word[6], StandardCharsets.US_ASCII)) {
            for (int at = 0; at < records; at++) {
                file.println((began + (long) (at * 1e6 / rate)) + " " + latency[at] / 1000);
            }
        }
        return "done records=" + records + figures("ack", latency);
    }

    /** The key of the record at this offset: SplitMix64, so that both sides of a check get the same without a list. */
    static int keyAt(long offset, int keys) {
        long mixed = (offset + 1) * 0x9E3779B97F4A7C15L;
        mixed = (mixed ^ (mixed >>> 30)) * 0xBF58476D1CE4E5B9L;
        mixed = (mixed ^ (mixed >>> 27)) * 0x94D049BB133111EBL;
        mixed ^= mixed >>> 31;
        return (int) Long.remainderUnsigned(mixed, keys);
    }

    static void digits(byte[] into, int from, int width, long value) {
        for (int at = from + width - 1; at >= from; at--, value /= 10) {
            into[at] = (byte) ('0' + value % 10);
        }
    }

    static String keyed(String[] word) throws Exception {
        long records = Long.parseLong(word[3]);
        int keys = Integer.parseInt(word[4]);
        int bytes = Integer.parseInt(word[5]);
        byte[] pool = letters(1 << 16);
        byte[] text = "{\"sequence\":0000000000,\"state\":\"confirmed\",\"currency\":\"EUR\",\"note\":\"".getBytes(StandardCharsets.US_ASCII);
        AtomicReference<Exception> failure = new AtomicReference<>();
        AtomicLong misplaced = new AtomicLong();
        try (var producer = producer(word, 6)) {
            producer.partitionsFor(word[2]);
            long begin = System.nanoTime();
            for (long at = 0; at < records && failure.get() == null; at++) {
                byte[] key = "key-00000000".getBytes(StandardCharsets.US_ASCII);
                digits(key, 4, 8, keyAt(at, keys));
                byte[] value = new byte[Math.max(bytes, 22)];
                // One half says the same in each record, the other does not: a codec has something to do.
                int same = Math.min(text.length, value.length);
                System.arraycopy(text, 0, value, 0, same);
                System.arraycopy(pool, (int) (at * 31 % (pool.length - value.length)), value, same, value.length - same);
                digits(value, 12, 10, at);
                long expected = at;
                producer.send(new ProducerRecord<>(word[2], 0, key, value), (metadata, error) -> {
                    if (error != null) {
                        failure.compareAndSet(null, error);
                    } else if (metadata.offset() != expected) {
                        misplaced.incrementAndGet();
                    }
                });
            }
            producer.flush();
            if (failure.get() != null) {
                throw failure.get();
            }
            if (misplaced.get() > 0) {
                throw new IllegalStateException(misplaced + " records are not at the offset of their number");
            }
            return "done records=" + records + " seconds=" + (System.nanoTime() - begin) / 1e9;
        }
    }

    static String verify(String[] word) {
        long end = Long.parseLong(word[3]);
        int keys = Integer.parseInt(word[4]);
        int[] latest = latest(end, keys);
        long expected = Arrays.stream(latest).filter(at -> at >= 0).count();
        TopicPartition partition = new TopicPartition(word[2], 0);
        long records = 0;
        long found = 0;
        long bytes = 0;
        Map<String, Object> settings = Map.of("bootstrap.servers", word[1]);
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long begin = System.nanoTime();
            for (long before = consumer.position(partition); before < end; before = consumer.position(partition)) {
                var fetched = consumer.poll(Duration.ofSeconds(10));
                // Without records but farther: the last ones of a batch are compacted away.
                if (fetched.isEmpty() && consumer.position(partition) == before) {
                    throw new IllegalStateException("10 s without a record at " + before);
                }
                for (ConsumerRecord<byte[], byte[]> record : fetched) {
                    int key = (int) number(record.key(), 4, 8);
                    if (record.offset() >= end || key != keyAt(record.offset(), keys) || number(record.value(), 12, 10) != record.offset()) {
                        throw new IllegalStateException("what is at offset " + record.offset() + " was not written there");
                    }
                    found += latest[key] == record.offset() ? 1 : 0;
                    bytes += record.value().length;
                    records++;
                }
            }
            double seconds = (System.nanoTime() - begin) / 1e9;
            if (found != expected) {
                throw new IllegalStateException("the latest records of " + (expected - found) + " keys are missing");
            }
            return "done records=" + records + " keys=" + found + " bytes=" + bytes + " seconds=" + seconds;
        }
    }

    static int[] latest(long records, int keys) {
        int[] latest = new int[keys];
        Arrays.fill(latest, -1);
        for (int at = 0; at < records; at++) {
            latest[keyAt(at, keys)] = at;
        }
        return latest;
    }

    static String latest(String[] word) throws IOException {
        int[] latest = latest(Long.parseLong(word[2]), Integer.parseInt(word[3]));
        long checked = 0;
        for (String line : Files.readAllLines(Path.of(word[1]))) {
            String[] pair = line.split(" ");
            if (latest[Integer.parseInt(pair[0])] != Integer.parseInt(pair[1])) {
                throw new IllegalStateException("key " + pair[0] + ": " + pair[1] + " instead of " + latest[Integer.parseInt(pair[0])]);
            }
            checked++;
        }
        return "done checked=" + checked;
    }

    static long number(byte[] text, int from, int width) {
        long value = 0;
        for (int at = from; at < from + width; at++) {
            value = value * 10 + text[at] - '0';
        }
        return value;
    }
}
