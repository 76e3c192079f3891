using System.Globalization;
using System.Text.Json;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Silo;
using FedRLora.Training;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// Tokens that a federation's rounds train in a second, from the first assignment to the commit in a silo with its real trainer,
/// in groups of two and one lane for each processor: with OTLP export of metrics and traces to an endpoint on this machine beside none,
/// and beside the same in one lane.
/// </summary>
internal static class RoundThroughput
{
    private const int Clients = 8;
    private const int GroupSize = 2;
    private const int Steps = 2;
    private const int Rows = 4;
    private const int Tokens = 64;
    private const int Learned = 16;
    private const int Rounds = 4; // the first, which loads the model, is not counted

    public static async Task RunAsync(Settings settings)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-round-").FullName;
        using var collector = new OtlpSink();
        try
        {
            ModelFolder.Write(folder, BenchmarkModel.Config, "F32", shards: 1);
            // Letters are tokens: prompt, a space, completion and the end token.
            var row = JsonSerializer.Serialize(
                new { prompt = new string('a', Tokens - Learned), completion = new string('b', Learned - 2) });
            File.WriteAllLines(Path.Combine(folder, "rows.jsonl"), Enumerable.Repeat(row, Rows));
            await MeasureAsync(folder, "warm-up", collector.Endpoint, settings);
            var (off, on, one) = (new double[settings.Runs], new double[settings.Runs], new double[settings.Runs]);
            for (var run = 0; run < settings.Runs; run++)
            {
                foreach (var exports in (bool[])[run % 2 == 0, run % 2 != 0])
                    (exports ? on : off)[run] = await MeasureAsync(folder, $"{run}-{(exports ? "on" : "off")}",
                        exports ? collector.Endpoint : null, settings);
                one[run] = await MeasureAsync(folder, $"{run}-one", endpoint: null, settings, lanes: 1);
            }

            Console.WriteLine(Pairs.Head("tokens/s"));
            Console.WriteLine(Pairs.Row($"{Clients} clients, {Steps} steps of {Rows} x {Tokens}", "OTLP export every second",
                "no telemetry", on, off, "F0"));
            var lanes = Environment.ProcessorCount;
            Console.WriteLine(
                Pairs.Row($"{Clients} clients, {Steps} steps of {Rows} x {Tokens}", $"{lanes} lanes", "1 lane", off, one, "F0"));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"a whole round in a silo: select, train, store, aggregate, "
                + $"commit; {Rounds - 1} rounds a run, the median; the endpoint received {collector.Requests} requests, "
                + $"{collector.Bytes / 1e3:F0} kB"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task<double> MeasureAsync(string folder, string job, string? endpoint, Settings settings, int? lanes = null)
    {
        Environment.SetEnvironmentVariable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
        Environment.SetEnvironmentVariable("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        Environment.SetEnvironmentVariable("OTEL_METRIC_EXPORT_INTERVAL", "1000");
        Environment.SetEnvironmentVariable("OTEL_BSP_SCHEDULE_DELAY", "1000");
        var (siloPort, gatewayPort) = SiloPorts.Free();
        using var trainer = new LocalTrainer(new LocalTrainerOptions { Root = folder, Device = settings.Device.ToString(), Lanes = lanes });
        using var host = SiloHost.Create(
            new SiloOptions
            {
                Name = "bench", Sites = ["*"], Root = folder, Store = Path.Combine(folder, job), SiloPort = siloPort,
                GatewayPort = gatewayPort, ResendAfter = TimeSpan.FromMinutes(5),
            },
            builder => builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(trainer));
        await host.StartAsync();
        var coordinator = host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>("bench");
        await coordinator.SubmitAsync(Plan());
        var seconds = new List<double>();
        while (true)
        {
            var progress = await coordinator.GetProgressAsync(seconds.Count - 1) ?? throw new InvalidOperationException("the job is gone");
            seconds.AddRange(progress.NewRounds.Select(static round => round.Seconds));
            if (progress.Status == JobStatus.Failed) throw new InvalidOperationException(progress.Reason);
            if (progress.Status == JobStatus.Finished) break;
            await Task.Delay(200);
        }

        await host.StopAsync();
        return (double)Clients * Steps * Rows * Tokens / Pairs.Median(seconds.TakeLast(Rounds - 1));
    }

    private static string Plan() => string.Create(CultureInfo.InvariantCulture,
        $"name: bench\nseed: 1\nmodel: .\nadapter: {{method: lora, rank: {TrainingBenchmark.Rank}, targetModules: []}}\n"
            + $"training: {{steps: {Steps}, batchSize: {Rows}, maxTokens: {Tokens}, groupSize: {GroupSize}, threads: 1}}\n"
            + $"strategy: {{rounds: {Rounds}}}\nevaluation: {{everyRounds: {Rounds}}}\ncheckpoints: {{export: false}}\nclients:\n")
        + string.Concat(Enumerable.Range(0, Clients).Select(static client => string.Create(CultureInfo.InvariantCulture,
            $"  - {{id: c{client}, task: one, data: {{train: rows.jsonl}}}}\n")));
}
