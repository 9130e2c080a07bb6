import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.Random;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.stream.IntStream;
import java.util.stream.LongStream;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Transactions for the brokers under comparison, with Kafka's own Java client. The protocol is that of {@code Load}: one
 * command per line of standard input, one line of figures per command, and the process stays alive.
 *
 * <pre>
 * transact BOOTSTRAP TOPIC PRODUCERS RECORDS BYTES SECONDS MOST ABORT_EVERY [key=value ...]
 * fill     BOOTSTRAP TOPIC RECORDS BYTES                              records outside of transactions
 * copy     BOOTSTRAP FROM TO GROUP RECORDS SECONDS [key=value ...]    consume, produce, and commit both in one transaction
 * read     BOOTSTRAP TOPIC ROUNDS [key=value ...]                     everything, from the beginning, ROUNDS times
 * </pre>
 *
 * Each of PRODUCERS runs one transaction after the other until SECONDS are over or all of them have done MOST; a transaction
 * has RECORDS records, which go to the topic's partitions in turn. Every ABORT_EVERYth of a producer is aborted, none at 0.
 *
 * <p>A commit is flush() and commitTransaction(): the latter alone does the same, but with the second protocol the client's I/O
 * thread may send the end of a transaction ahead of its records, if it looked for unsent ones before they were there and for
 * requests after (Sender.maybeSendAndPollTransactionalRequest of 4.3.1); brokers answer INVALID_TXN_STATE.
 *
 * <p>What is timed comes after some transactions that are not, and what the log holds at the end is checked.
 */
public class Transactions {
    /** Before the clock runs: metadata and connections are there, the coordinator is known. */
    static final int UNTIMED = 10;

    public static void main(String[] args) throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("ready");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] word = line.split(" ");
            try {
                System.out.println(switch (word[0]) {
                    case "transact" -> transact(word);
                    case "fill" -> fill(word);
                    case "copy" -> copy(word);
                    case "read" -> read(word);
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

    /** Letters at random; the same ones in each run. */
    static byte[] payload(int bytes) {
        byte[] payload = new byte[bytes];
        Random random = new Random(0);
        for (int at = 0; at < bytes; at++) {
            payload[at] = (byte) (random.nextInt(26) + 'A');
        }
        return payload;
    }

    /** Nanoseconds in the order they were taken. */
    static class Times {
        long[] taken = new long[1024];
        int count;

        void add(long nanoseconds) {
            if (count == taken.length) {
                taken = Arrays.copyOf(taken, 2 * count);
            }
            taken[count++] = nanoseconds;
        }

        /** " NAME_p50_us=… NAME_p99_us=…" of all of them together. */
        static String show(String name, Collection<Times> all) {
            long[] sorted = all.stream().flatMapToLong(one -> LongStream.of(one.taken).limit(one.count)).sorted().toArray();
            if (sorted.length == 0) {
                return "";
            }
            return " " + name + "_p50_us=" + at(sorted, 0.5) + " " + name + "_p99_us=" + at(sorted, 0.99)
                + " " + name + "_max_us=" + at(sorted, 1.0);
        }
    }

    static double at(long[] sorted, double quantile) {
        return sorted[Math.min(sorted.length - 1, (int) (sorted.length * quantile))] / 1000.0;
    }

    /** One transactional producer of a block and what it has done. */
    static class Writer {
        final String topic;
        final int partitions;
        final int records;
        final byte[] payload;
        final int abortEvery;
        final KafkaProducer<byte[], byte[]> producer;
        final Times commits = new Times();
        final Times flushes = new Times();
        final Times ends = new Times();
        /** The next record's place in the turns of the partitions. */
        long turn;
        long begun;
        long committed;
        long aborted;
        /** By how much the log must have grown: records and one marker in each partition of a transaction. */
        long grown;

        Writer(String[] word, int number, int partitions) {
            topic = word[2];
            this.partitions = partitions;
            records = Integer.parseInt(word[4]);
            payload = payload(Integer.parseInt(word[5]));
            abortEvery = Integer.parseInt(word[8]);
            turn = number;
            Map<String, Object> settings = settings(word, 9);
            settings.put("transactional.id", topic + "-" + number);
            producer = new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        }

        void one(boolean timed) {
            producer.beginTransaction();
            for (int sent = 0; sent < records; sent++) {
                producer.send(new ProducerRecord<>(topic, (int) (turn++ % partitions), null, payload));
            }
            grown += records + Math.min(records, partitions);
            begun++;
            long begin = System.nanoTime();
            producer.flush();
            long flushed = System.nanoTime();
            boolean abort = abortEvery > 0 && begun % abortEvery == 0;
            if (abort) {
                producer.abortTransaction();
                aborted++;
            } else {
                producer.commitTransaction();
                committed++;
            }
            if (timed && !abort) {
                long end = System.nanoTime();
                commits.add(end - begin);
                flushes.add(flushed - begin);
                ends.add(end - flushed);
            }
        }
    }

    static String transact(String[] word) throws Exception {
        String topic = word[2];
        int producers = Integer.parseInt(word[3]);
        long span = (long) (Double.parseDouble(word[6]) * 1e9);
        AtomicLong left = new AtomicLong(Long.parseLong(word[7]));
        ExecutorService threads = Executors.newFixedThreadPool(producers);
        List<Writer> writers = new ArrayList<>();
        try (var log = new KafkaConsumer<>(committed(word), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions = partitions(log, topic);
            long before = end(log, partitions);
            for (int number = 0; number < producers; number++) {
                writers.add(new Writer(word, number, partitions.size()));
            }
            long[] begin = new long[1];
            CyclicBarrier ready = new CyclicBarrier(producers, () -> begin[0] = System.nanoTime());
            Queue<Exception> failures = new ConcurrentLinkedQueue<>();
            List<Future<Long>> running = new ArrayList<>();
            for (Writer writer : writers) {
                running.add(threads.submit(() -> {
                    try {
                        writer.producer.initTransactions();
                        for (int number = 0; number < UNTIMED; number++) {
                            writer.one(false);
                        }
                    } catch (Exception error) {
                        failures.add(error);
                        // Who waits for this one gives up.
                        ready.reset();
                        throw error;
                    }
                    ready.await(60, TimeUnit.SECONDS);
                    long until = begin[0] + span;
                    while (System.nanoTime() < until && left.getAndDecrement() > 0) {
                        writer.one(true);
                    }
                    return System.nanoTime();
                }));
            }
            long last = 0;
            for (Future<Long> one : running) {
                try {
                    last = Math.max(last, one.get());
                } catch (ExecutionException error) {
                    throw failures.isEmpty() ? error : failures.peek();
                }
            }
            long committed = writers.stream().mapToLong(writer -> writer.committed).sum();
            long aborted = writers.stream().mapToLong(writer -> writer.aborted).sum();
            await(log, partitions, before + writers.stream().mapToLong(writer -> writer.grown).sum());
            int records = writers.get(0).records;
            return "done transactions=" + (committed + aborted - (long) UNTIMED * producers) + " seconds=" + (last - begin[0]) / 1e9
                + " committed_records=" + committed * records + " aborted_records=" + aborted * records
                + Times.show("commit", writers.stream().map(writer -> writer.commits).toList())
                + Times.show("flush", writers.stream().map(writer -> writer.flushes).toList())
                + Times.show("end", writers.stream().map(writer -> writer.ends).toList());
        } finally {
            threads.shutdownNow();
            for (Writer writer : writers) {
                writer.producer.close(Duration.ofSeconds(5));
            }
        }
    }

    static Map<String, Object> committed(String[] word) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", word[1]);
        settings.put("isolation.level", "read_committed");
        return settings;
    }

    static List<TopicPartition> partitions(KafkaConsumer<?, ?> log, String topic) {
        return log.partitionsFor(topic).stream().map(info -> new TopicPartition(topic, info.partition())).toList();
    }

    static long end(KafkaConsumer<?, ?> log, List<TopicPartition> partitions) {
        return log.endOffsets(partitions).values().stream().mapToLong(Long::longValue).sum();
    }

    /** Markers may come after the answer to a commit, but they must come, and nothing else. */
    static void await(KafkaConsumer<?, ?> log, List<TopicPartition> partitions, long expected) throws InterruptedException {
        long found = end(log, partitions);
        for (long until = System.nanoTime() + 10_000_000_000L; found != expected && System.nanoTime() < until; found = end(log, partitions)) {
            Thread.sleep(5);
        }
        if (found != expected) {
            throw new IllegalStateException("the last stable offsets add up to " + found + ", not to " + expected);
        }
    }

    static String fill(String[] word) {
        byte[] payload = payload(Integer.parseInt(word[4]));
        long records = Long.parseLong(word[3]);
        try (var producer = new KafkaProducer<>(settings(word, 5), new ByteArraySerializer(), new ByteArraySerializer())) {
            int partitions = producer.partitionsFor(word[2]).size();
            for (long sent = 0; sent < records; sent++) {
                producer.send(new ProducerRecord<>(word[2], (int) (sent % partitions), null, payload));
            }
        }
        return "done records=" + records;
    }

    static String copy(String[] word) throws Exception {
        String from = word[2];
        String to = word[3];
        String group = word[4];
        long span = (long) (Double.parseDouble(word[6]) * 1e9);
        Map<String, Object> reading = committed(word);
        reading.put("group.id", group);
        reading.put("enable.auto.commit", "false");
        reading.put("auto.offset.reset", "earliest");
        reading.put("max.poll.records", word[5]);
        Map<String, Object> writing = settings(word, 7);
        writing.put("transactional.id", group);
        Times commits = new Times();
        Times whole = new Times();
        try (var consumer = new KafkaConsumer<>(reading, new ByteArrayDeserializer(), new ByteArrayDeserializer());
             var log = new KafkaConsumer<>(committed(word), new ByteArrayDeserializer(), new ByteArrayDeserializer());
             var producer = new KafkaProducer<>(writing, new ByteArraySerializer(), new ByteArraySerializer())) {
            List<TopicPartition> partitions = partitions(log, to);
            List<TopicPartition> sources = partitions(log, from);
            long before = end(log, partitions);
            long available = end(log, sources);
            producer.initTransactions();
            consumer.subscribe(List.of(from));
            // Joins the group; the first records are read again.
            while (consumer.poll(Duration.ofSeconds(10)).isEmpty()) {
                if (consumer.assignment().isEmpty()) {
                    throw new IllegalStateException("10 s and no partition was assigned");
                }
            }
            consumer.seekToBeginning(consumer.assignment());
            long read = 0;
            long copied = 0;
            long grown = 0;
            long turn = 0;
            long transactions = 0;
            long begin = System.nanoTime();
            Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
            for (long now = begin; transactions < UNTIMED || now < begin + span; now = System.nanoTime()) {
                if (read == available) {
                    consumer.seekToBeginning(consumer.assignment());
                    read = 0;
                }
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofSeconds(10));
                if (records.isEmpty()) {
                    throw new IllegalStateException("10 s without a record");
                }
                producer.beginTransaction();
                boolean[] touched = new boolean[partitions.size()];
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    int partition = (int) (turn++ % touched.length);
                    touched[partition] = true;
                    producer.send(new ProducerRecord<>(to, partition, null, record.value()));
                    offsets.put(new TopicPartition(from, record.partition()), new OffsetAndMetadata(record.offset() + 1));
                }
                producer.sendOffsetsToTransaction(offsets, consumer.groupMetadata());
                long committing = System.nanoTime();
                producer.commitTransaction();
                long end = System.nanoTime();
                read += records.count();
                copied += records.count();
                grown += records.count() + IntStream.range(0, touched.length).filter(at -> touched[at]).count();
                if (++transactions == UNTIMED) {
                    begin = end;
                    copied = 0;
                } else if (transactions > UNTIMED) {
                    commits.add(end - committing);
                    whole.add(end - now);
                }
            }
            double seconds = (System.nanoTime() - begin) / 1e9;
            await(log, partitions, before + grown);
            // Read as a member that takes over would: only stable offsets.
            var stored = consumer.committed(offsets.keySet());
            if (!stored.equals(offsets)) {
                throw new IllegalStateException("the group's offsets are " + stored + ", not " + offsets);
            }
            return "done transactions=" + (transactions - UNTIMED) + " seconds=" + seconds + " records=" + copied
                + Times.show("commit", List.of(commits)) + Times.show("whole", List.of(whole));
        }
    }

    static String read(String[] word) {
        String topic = word[2];
        int rounds = Integer.parseInt(word[3]);
        long records = 0;
        long bytes = 0;
        double seconds = 0;
        for (int round = 0; round < rounds; round++) {
            try (var consumer = new KafkaConsumer<>(settings(word, 4), new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                List<TopicPartition> partitions = partitions(consumer, topic);
                consumer.assign(partitions);
                Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
                consumer.seekToBeginning(partitions);
                long begin = System.nanoTime();
                // The log ends with markers, which are no records: what counts is where the consumer stands.
                for (boolean all = false; !all; all = partitions.stream().allMatch(one -> consumer.position(one) >= ends.get(one))) {
                    long before = partitions.stream().mapToLong(consumer::position).sum();
                    var fetched = consumer.poll(Duration.ofSeconds(10));
                    for (var record : fetched) {
                        bytes += record.value().length;
                    }
                    records += fetched.count();
                    if (fetched.isEmpty() && partitions.stream().mapToLong(consumer::position).sum() == before) {
                        throw new IllegalStateException("10 s without a record");
                    }
                }
                seconds += (System.nanoTime() - begin) / 1e9;
            }
        }
        return "done records=" + records / rounds + " bytes=" + bytes / rounds + " seconds=" + seconds / rounds;
    }
}
