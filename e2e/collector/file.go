package main

import (
	"context"
	"os"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

type config struct {
	Path string `mapstructure:"path"`
}

// All signals of one file exporter go to one file; a line is written whole.
var writing sync.Mutex

func (c *config) write(line []byte, err error) error {
	if err != nil {
		return err
	}
	writing.Lock()
	defer writing.Unlock()
	file, err := os.OpenFile(c.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(append(line, '\n'))
	return err
}

func fileExporter() exporter.Factory {
	return exporter.NewFactory(component.MustNewType("file"), func() component.Config { return &config{} },
		exporter.WithTraces(traces, component.StabilityLevelStable),
		exporter.WithMetrics(metrics, component.StabilityLevelStable),
		exporter.WithLogs(logs, component.StabilityLevelStable))
}

func traces(ctx context.Context, set exporter.Settings, c component.Config) (exporter.Traces, error) {
	marshaler := ptrace.JSONMarshaler{}
	return exporterhelper.NewTraces(ctx, set, c, func(_ context.Context, data ptrace.Traces) error {
		return c.(*config).write(marshaler.MarshalTraces(data))
	})
}

func metrics(ctx context.Context, set exporter.Settings, c component.Config) (exporter.Metrics, error) {
	marshaler := pmetric.JSONMarshaler{}
	return exporterhelper.NewMetrics(ctx, set, c, func(_ context.Context, data pmetric.Metrics) error {
		return c.(*config).write(marshaler.MarshalMetrics(data))
	})
}

func logs(ctx context.Context, set exporter.Settings, c component.Config) (exporter.Logs, error) {
	marshaler := plog.JSONMarshaler{}
	return exporterhelper.NewLogs(ctx, set, c, func(_ context.Context, data plog.Logs) error {
		return c.(*config).write(marshaler.MarshalLogs(data))
	})
}
