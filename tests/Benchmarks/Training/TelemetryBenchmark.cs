using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Access;
using FedRLora.ControlPlane.Http;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;

namespace FedRLora.Benchmarks.Training;

/// <summary>
/// What telemetry costs a run: processor time of a silo that trains with everything on (metrics and logs by OTLP and every span, each
/// second, its page read each second, a point of every tenth step) over that of one with everything off. Two processes take turns, new ones
/// after some pairs; what is sent and read is taken and asked for by a third. With <c>--control</c> both have everything off.
/// </summary>
internal static class TelemetryBenchmark
{
    private const int Clients = 4, Steps = 8, Rows = 4, Tokens = 64, Rounds = 2, WarmReads = 200, GroupSize = 4;
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(20);

    public static async Task RunAsync(string[] args)
    {
        if (args is ["silo", var role]) await ServeAsync(role == "on");
        else await CompareAsync(
            int.Parse(CommandLine.Option(args, "--runs") ?? "16", CultureInfo.InvariantCulture), args.Contains("--control"));
    }

    private static async Task CompareAsync(int runs, bool isControl)
    {
        using var collector = new OtlpSink();
        var (pairs, read) = (new List<(double On, double Off)>(), 0);
        for (var group = 0; group < runs; group += GroupSize)
        {
            // new processes: one may lie better in memory than another for as long as it lives
            var (measured, pages) = await GroupAsync(collector, Math.Min(GroupSize, runs - group), isControl);
            pairs.AddRange(measured);
            read += pages;
        }

        var logs = pairs.Select(static pair => Math.Log(pair.On / pair.Off)).ToList();
        Console.WriteLine("| run | everything on, processor s | off, processor s | on / off | 95 % interval |");
        Console.WriteLine("| --- | ---: | ---: | ---: | ---: |");
        Console.WriteLine(
            string.Create(CultureInfo.InvariantCulture, $"| {Clients} clients, {Rounds} rounds of {Steps} steps of {Rows} x {Tokens} | "
                + $"{Pairs.Median([.. pairs.Select(static pair => pair.On)]):F2} | "
                + $"{Pairs.Median([.. pairs.Select(static pair => pair.Off)]):F2} | {Against.Interval(logs)} |"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{runs} pairs; {collector.Requests} requests by OTLP with {collector.Bytes / 1e3:F0} kB, the page read {read} times"));
    }

    private static async Task<(IReadOnlyList<(double On, double Off)> Pairs, int PagesRead)> GroupAsync(
        OtlpSink collector, int runs, bool isControl)
    {
        using var on = Start(isControl ? "off" : "on", isControl ? null : collector.Endpoint);
        using var off = Start("off", endpoint: null);
        await off.StandardOutput.ReadLineAsync();
        var page = (await on.StandardOutput.ReadLineAsync())!.Split(' ');
        using var stopping = new CancellationTokenSource();
        var scraping = Task.FromResult(0);
        if (!isControl)
        {
            // what is compiled once is no cost of a run
            using (var warm = new CancellationTokenSource(WarmUp)) await ScrapeAsync(new(page[0]), page[1], WarmUp / WarmReads, warm.Token);
            scraping = ScrapeAsync(new(page[0]), page[1], TimeSpan.FromSeconds(1), stopping.Token);
        }

        var pairs = new List<(double On, double Off)>();
        for (var run = -2; run < runs; run++) // the first two are a warm-up
        {
            var isOnFirst = int.IsEvenInteger(run);
            var (first, second) = isOnFirst ? (on, off) : (off, on);
            var (one, two) = (await AskAsync(first), await AskAsync(second));
            if (run < 0) continue;
            pairs.Add(isOnFirst ? (one, two) : (two, one));
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{pairs[^1].On:F2} s {pairs[^1].Off:F2} s"));
        }

        await stopping.CancelAsync();
        var pages = await scraping;
        foreach (var silo in new[] { on, off })
        {
            silo.StandardInput.Close();
            await silo.WaitForExitAsync();
        }

        return (pairs, pages);
    }

    private static async Task ServeAsync(bool isOn)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-telemetry-").FullName;
        try
        {
            ModelFolder.Write(folder, BenchmarkModel.Config, "F32", shards: 1);
            // Letters are tokens: prompt, a space, completion and the end token.
            var row = JsonSerializer.Serialize(new { prompt = new string('a', 48), completion = new string('b', 14) });
            await File.WriteAllLinesAsync(Path.Combine(folder, "rows.jsonl"), Enumerable.Repeat(row, Rows));
            var (siloPort, gatewayPort) = SiloPorts.Free();
            var token = Path.Combine(folder, "token");
            using var host = SiloHost.Create(new SiloOptions
            {
                Name = "bench", Sites = ["*"], Root = folder, Store = Path.Combine(folder, "store"), SiloPort = siloPort,
                GatewayPort = gatewayPort, ResendAfter = TimeSpan.FromMinutes(5), Lanes = 1, ClientMetrics = isOn ? 1_000 : 0,
                Control = ControlOptions.OnPort(0) with { TokenFile = token },
            });
            await host.StartAsync();
            var address = host.Services.GetRequiredService<ControlServer>().Address;
            Console.WriteLine($"{new Uri(address, Routes.Metrics.Pattern)} {TokenFiles.Read(token)}");
            for (var run = 0; await Console.In.ReadLineAsync() is not null; run++)
            {
                var coordinator = host.Services.GetRequiredService<IGrainFactory>()
                    .GetGrain<IRunControlGrain>(string.Create(CultureInfo.InvariantCulture, $"bench-{run}"));
                var before = Environment.CpuUsage.TotalTime;
                await coordinator.SubmitAsync(Plan(isOn));
                while (true)
                {
                    var progress = await coordinator.GetProgressAsync(-1) ?? throw new InvalidOperationException("the run is gone");
                    if (progress.Status == JobStatus.Failed) throw new InvalidOperationException(progress.Reason);
                    if (progress.Status == JobStatus.Finished) break;
                    await Task.Delay(200);
                }

                Console.WriteLine((Environment.CpuUsage.TotalTime - before).TotalSeconds.ToString("R", CultureInfo.InvariantCulture));
            }

            await host.StopAsync();
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Plan(bool isOn)
    {
        var plan = string.Create(CultureInfo.InvariantCulture,
            $"name: bench\nseed: 1\nmodel: .\nadapter: {{method: lora, rank: {TrainingBenchmark.Rank}, targetModules: []}}\n"
                + $"training: {{steps: {Steps}, batchSize: {Rows}, maxTokens: {Tokens}, groupSize: 2, threads: 1}}\n"
                + $"strategy: {{rounds: {Rounds}}}\nevaluation: {{everyRounds: {Rounds}}}\ncheckpoints: {{export: false}}\n");
        var clients = Enumerable.Range(0, Clients).Select(static client => string.Create(CultureInfo.InvariantCulture,
            $"  - {{id: c{client}, task: one, data: {{train: rows.jsonl}}}}\n"));
        return plan + (isOn ? "telemetry: {stepEvery: 10}\n" : "") + "clients:\n" + string.Concat(clients);
    }

    private static Process Start(string role, string? endpoint)
    {
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [typeof(TelemetryBenchmark).Assembly.Location] : [];
        var start = new ProcessStartInfo(Environment.ProcessPath!, [.. program, "telemetry", "silo", role])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true,
        };
        foreach (var (name, value) in new[]
        {
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"), ("OTEL_BSP_SCHEDULE_DELAY", "1000"), ("OTEL_BLRP_SCHEDULE_DELAY", "1000"),
        }) start.Environment[name] = endpoint is null ? null : value;
        return Process.Start(start)!;
    }

    private static async Task<double> AskAsync(Process silo)
    {
        await silo.StandardInput.WriteLineAsync("run");
        await silo.StandardInput.FlushAsync();
        return double.Parse(await silo.StandardOutput.ReadLineAsync() ?? throw new InvalidOperationException("a silo has ended"),
            CultureInfo.InvariantCulture);
    }

    private static async Task<int> ScrapeAsync(Uri page, string token, TimeSpan every, CancellationToken stopping)
    {
        using var client = new HttpClient();
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        client.DefaultRequestHeaders.Accept.ParseAdd("application/openmetrics-text");
        using var timer = new PeriodicTimer(every);
        var count = 0;
        try
        {
            for (; await timer.WaitForNextTickAsync(stopping); count++) await client.GetStringAsync(page, stopping);
        }
        catch (OperationCanceledException)
        {
            // The benchmark has ended.
        }

        return count;
    }
}
