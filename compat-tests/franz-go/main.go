// Franz-go (the newest protocol versions first): writes and reads the flights.
//
//	flights write BOOTSTRAP TOPIC CODEC INPUT_DIR
//	flights read  BOOTSTRAP TOPIC OUTPUT_DIR
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var err error
	switch {
	case len(os.Args) == 6 && os.Args[1] == "write":
		err = write(ctx, os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	case len(os.Args) == 5 && os.Args[1] == "read":
		err = read(ctx, os.Args[2], os.Args[3], os.Args[4])
	default:
		err = errors.New("usage: flights write BOOTSTRAP TOPIC CODEC INPUT_DIR | read BOOTSTRAP TOPIC OUTPUT_DIR")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func codecNamed(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("no such codec: %s", name)
}

func write(ctx context.Context, bootstrap, topic, codecName, source string) error {
	codec, err := codecNamed(codecName)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.DefaultProduceTopic(topic),
		kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	paths, err := filepath.Glob(filepath.Join(source, "*.tsv"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no input under %s: %w", source, err)
	}
	var mu sync.Mutex
	var failure error
	for partition := range paths {
		content, err := os.ReadFile(filepath.Join(source, fmt.Sprintf("%d.tsv", partition)))
		if err != nil {
			return err
		}
		var offset int64
		for line := range bytes.Lines(content) {
			columns := bytes.SplitN(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\t'}, 3)
			if len(columns) != 3 {
				return fmt.Errorf("not a record: %q", line)
			}
			timestamp, err := strconv.ParseInt(string(columns[0]), 10, 64)
			if err != nil {
				return err
			}
			expected := offset
			offset++
			client.Produce(ctx, &kgo.Record{
				Key: columns[1], Value: columns[2], Partition: int32(partition), Timestamp: time.UnixMilli(timestamp),
			}, func(record *kgo.Record, err error) {
				if err == nil && record.Offset != expected {
					err = fmt.Errorf("partition %d: acknowledged at %d instead of %d", record.Partition, record.Offset, expected)
				}
				if err != nil {
					mu.Lock()
					defer mu.Unlock()
					failure = errors.Join(failure, err)
				}
			})
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return failure
}

func read(ctx context.Context, bootstrap, topic, target string) error {
	admin, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer admin.Close()
	ends, err := kadm.NewClient(admin).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	if err := ends.Error(); err != nil {
		return err
	}
	var left int64
	starts := map[int32]kgo.Offset{}
	files := map[int32]*bufio.Writer{}
	for partition, end := range ends[topic] {
		left += end.Offset
		starts[partition] = kgo.NewOffset().AtStart()
		file, err := os.Create(filepath.Join(target, fmt.Sprintf("%d.tsv", partition)))
		if err != nil {
			return err
		}
		defer file.Close()
		files[partition] = bufio.NewWriter(file)
	}
	if len(files) == 0 {
		return fmt.Errorf("%s has no partitions", topic)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("%d records missing: %w", left, err)
		}
		for iterator := fetches.RecordIter(); !iterator.Done(); left-- {
			record := iterator.Next()
			file := files[record.Partition]
			if _, err := fmt.Fprintf(
				file, "%d\t%d\t%s\t%s\n", record.Offset, record.Timestamp.UnixMilli(), record.Key, record.Value,
			); err != nil {
				return err
			}
		}
	}
	for _, file := range files {
		if err := file.Flush(); err != nil {
			return err
		}
	}
	return nil
}
