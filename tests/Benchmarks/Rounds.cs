using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Tests;
using FedRLora.Pki;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace FedRLora.Benchmarks;

/// <summary>
/// Rounds without training: what a federation costs by itself. Every client writes an update of the given size, a head and an
/// optimizer state; the coordinator reads each update once and commits. A round lasts from one commit to the next. The same run
/// copies the same bytes in memory, and writes and reads them as plain files.
/// </summary>
internal static class RoundBenchmark
{
    private const int WarmUps = 8; // until the runtime has compiled what is hot
    private const int Measured = 9;
    private const int MeasuredLong = 5; // of a gigabyte or more
    private static readonly (int Clients, int Bytes)[] Shapes = [(1_000, 100_000), (100, 1_000_000), (20, 10_000_000), (10_000, 100_000)];

    /// <param name="args">
    /// Shapes such as <c>100x1000000</c>; <c>memory</c> or <c>sockets</c> for one way only; <c>fast</c> waits for no disk; with <c>own</c>
    /// the trainer makes an array for every update, as training does: then most of the memory is the trainer's.
    /// </param>
    public static async Task RunAsync(string[] args)
    {
        if (args is ["one", ..])
        {
            await RunOneAsync(args[1..]);
            return;
        }

        var shapes = args.Where(static text => char.IsAsciiDigit(text[0])).Select(static text => text.Split('x'))
            .Select(static parts => (Clients: Number(parts[0]), Bytes: Number(parts[1]))).ToArray();
        string[] options = [.. args.Where(static text => text is "fast" or "own")];
        string[] ways = args.Contains("memory") ? ["memory"] : args.Contains("sockets") ? ["sockets"] : ["memory", "sockets"];
        Console.WriteLine("| clients | update | silos | round s (lowest to highest) | processor s | / memory copy | / plain files | "
            + "managed peak, MB | live, MB | allocated a round, MB | state, kB a client | digest |\n"
            + "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
        foreach (var (clients, bytes) in shapes.Length > 0 ? shapes : Shapes)
        {
            var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
            try
            {
                List<(string Way, Result Result, double Live)> results = [];
                foreach (var way in ways)
                {
                    // In processes of their own: what one leaves behind is not the next one's.
                    string[] run = ["rounds", "one", Text(clients), Text(bytes), folder, way, .. options];
                    results.Add((way, Result.Of(await ChildProcess.RunAsync(run)),
                        Result.Of(await ChildProcess.RunAsync([.. run, "live"])).PeakMegabytes));
                }

                var copy = Median([.. Enumerable.Range(0, 5).Select(_ => Copy(clients, bytes))]);
                var plain = Median([.. Enumerable.Range(0, clients * (long)bytes > 500_000_000 ? 3 : 5)
                    .Select(number => PlainFiles(Path.Combine(folder, $"plain-{number}"), clients, bytes))]);
                foreach (var (way, result, live) in results)
                {
                    var seconds = result.Seconds;
                    Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                        $"| {clients:N0} | {bytes / 1e6:0.#} MB | {(way == "sockets" ? "two, loopback" : "one")} | {Median(seconds):F3} "
                            + $"({seconds.Min():F3} to {seconds.Max():F3}) | {result.ProcessorSeconds:F3} | {Median(seconds) / copy:F1} | "
                            + $"{Median(seconds) / plain:F2} | {result.PeakMegabytes:F0} | {live:F0} | "
                            + $"{result.AllocatedMegabytes:F1} | {result.StateBytes / 1000.0 / clients:F2} | {(uint)result.Digest:x8} |"));
                }

                Console.WriteLine(
                    string.Create(CultureInfo.InvariantCulture, $"<!-- memory copy {copy:F4} s, plain files {plain:F3} s -->"));
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }
    }

    private static async Task RunOneAsync(string[] args)
    {
        var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
        try
        {
            var result = await RunAsync(
                folder, Number(args[0]), Number(args[1]), args.Contains("sockets"),
                args.Contains("fast") ? Durability.Fast : Durability.Full, isLive: args.Contains("live"), isOwn: args.Contains("own"));
            Console.Write(result.Line);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    /// <param name="ProcessorSeconds">Of a round.</param>
    /// <param name="PeakMegabytes">The most that the managed heap held, with what nobody uses any more and is not collected yet.</param>
    /// <param name="AllocatedMegabytes">On the managed heap, in a round.</param>
    /// <param name="StateBytes">The coordinator's memory of the job, or the manifest, whichever is larger.</param>
    /// <param name="Digest">The first four bytes of the digest of the last manifest.</param>
    /// <param name="Seconds">Of each round.</param>
    /// <param name="StartSeconds">From nothing to two silos that are members, or one.</param>
    /// <param name="ResidentMegabytes">The most memory that the process had.</param>
    internal sealed record Result(
        double ProcessorSeconds, double PeakMegabytes, double AllocatedMegabytes, double StateBytes, double Digest, double StartSeconds,
        double ResidentMegabytes, double[] Seconds)
    {
        public string Line => string.Join(' ',
            new[] { ProcessorSeconds, PeakMegabytes, AllocatedMegabytes, StateBytes, Digest, StartSeconds, ResidentMegabytes }
            .Concat(Seconds).Select(static value => value.ToString("R", CultureInfo.InvariantCulture)));

        public static Result Of(double[] line) => new(line[0], line[1], line[2], line[3], line[4], line[5], line[6], line[7..]);
    }

    /// <summary>One run in this process; with <paramref name="tls"/> its two silos talk over mutual TLS.</summary>
    internal static async Task<Result> RunAsync(
        string folder, int clients, int bytes, bool sockets, Durability durability, bool isLive, bool isOwn, TlsFiles? tls = null)
    {
        var elements = bytes / sizeof(float);
        var trainer = new FakeTrainer(elements) { Lent = isOwn ? null : [.. Enumerable.Repeat(0.001f, elements)] };
        var store = Path.Combine(folder, "store");
        var (siloPort, gatewayPort) = SiloPorts.Free();
        var hub = new SiloOptions
        {
            Name = "hub", Sites = [sockets ? "hub" : "*"], Root = folder, Store = store, SiloPort = siloPort, GatewayPort = gatewayPort,
            ResendAfter = TimeSpan.FromMinutes(5), Durability = durability, Tls = tls,
        };
        var others = Others();
        var began = Stopwatch.GetTimestamp();
        using var host = Host(hub, trainer);
        await host.StartAsync();
        using var other = sockets ? Host(BesideHub(hub, folder), trainer) : null;
        if (other is not null) await other.StartAsync();
        var start = Stopwatch.GetElapsedTime(began).TotalSeconds;

        var commits = new List<(long At, TimeSpan Processor, long Allocated)>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, self) =>
        {
            if (instrument.Meter.Name == Telemetry.Name && instrument.Name == "fedrlora.rounds") self.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, _, _, _) => commits.Add(
            (Stopwatch.GetTimestamp(), Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes())));
        listener.Start();

        // The coordinator stays at the hub: every assignment and report then crosses the sockets.
        RequestContext.Set(IPlacementDirector.PlacementHintKey, host.Services.GetRequiredService<ILocalSiloDetails>().SiloAddress);
        var coordinator = host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>("bench");
        var rounds = WarmUps + (isLive || clients * (long)bytes >= 1_000_000_000 ? MeasuredLong : Measured);
        await coordinator.SubmitAsync(Plan(clients, rounds, sockets ? "edge" : "local"));
        var peak = 0.0;
        while (true)
        {
            var progress = await coordinator.GetProgressAsync(int.MaxValue - 1) ?? throw new InvalidOperationException("the job is gone");
            if (isLive) GC.Collect();
            peak = Math.Max(peak, GC.GetTotalMemory(forceFullCollection: false) / 1e6);
            if (progress.Status == JobStatus.Failed) throw new InvalidOperationException(progress.Reason);
            if (progress.Status == JobStatus.Finished) break;
            await Task.Delay(10);
        }

        var state = new FileInfo(Path.Combine(store, "grains", "job", "bench.json")).Length;
        var current = CurrentRound.Parse(await File.ReadAllBytesAsync(Path.Combine(store, "jobs", "bench", "current.json")),
            "current.json");
        var manifest = new DirectoryInfo(Path.Combine(store, "jobs", "bench", "rounds", "1")).GetFiles("manifest-*.json")
            .Max(static file => file.Length);
        if (other is not null) await other.StopAsync();
        await host.StopAsync();
        var seconds = commits.Zip(commits.Skip(1), static (before, after) => Stopwatch.GetElapsedTime(before.At, after.At).TotalSeconds)
            .Skip(WarmUps).ToArray();
        Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"processor seconds taken by others: {Others() - others:F1}"));
        var processor = (commits[^1].Processor - commits[WarmUps].Processor).TotalSeconds / (rounds - WarmUps);
        var allocated = (commits[^1].Allocated - commits[WarmUps].Allocated) / 1e6 / (rounds - WarmUps);
        return new Result(
            processor, peak, allocated, Math.Max(state, manifest),
            uint.Parse(current.ManifestSha256.AsSpan(0, 8), NumberStyles.HexNumber, CultureInfo.InvariantCulture), start,
            Process.GetCurrentProcess().PeakWorkingSet64 / 1e6, seconds);
    }

    private static SiloOptions BesideHub(SiloOptions hub, string folder)
    {
        var (siloPort, gatewayPort) = SiloPorts.Free();
        return hub with
        {
            Name = "edge", Sites = ["edge"], SiteStore = Path.Combine(folder, "edge"), SiloPort = siloPort, GatewayPort = gatewayPort,
            PrimaryPort = hub.SiloPort,
        };
    }

    private static IHost Host(SiloOptions options, FakeTrainer trainer) => SiloHost.Create(options, builder =>
    {
        builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(trainer);
        builder.Services.RemoveAll<IAdapterExporter>().AddSingleton<IAdapterExporter>(trainer);
        builder.Services.RemoveAll<IRunInputs>().AddSingleton<IRunInputs>(new FakeInputs());
    });

    // What the rest of the machine has used so far: figures of a busy machine are of no use.
    private static double Others()
    {
        var ticks = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..]
            .Select(static text => long.Parse(text, CultureInfo.InvariantCulture)).ToArray();
        return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6]) / 100.0 - Environment.CpuUsage.TotalTime.TotalSeconds;
    }

    // Between buffers that no cache holds.
    private static double Copy(int clients, int bytes)
    {
        var (from, to) = (new byte[256 << 20], new byte[256 << 20]);
        Array.Fill(from, (byte)1);
        Array.Fill(to, (byte)2);
        var started = Stopwatch.GetTimestamp();
        for (var (i, offset) = (0, 0); i < clients; i++, offset = offset + 2 * bytes > from.Length ? 0 : offset + bytes)
            from.AsSpan(offset, bytes).CopyTo(to.AsSpan(offset, bytes));
        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    private static double PlainFiles(string folder, int clients, int bytes)
    {
        Directory.CreateDirectory(folder);
        var content = new byte[bytes];
        var started = Stopwatch.GetTimestamp();
        for (var i = 0; i < clients; i++) File.WriteAllBytes(Path.Combine(folder, i.ToString(CultureInfo.InvariantCulture)), content);
        for (var i = 0; i < clients; i++) _ = File.ReadAllBytes(Path.Combine(folder, i.ToString(CultureInfo.InvariantCulture)));
        return Stopwatch.GetElapsedTime(started).TotalSeconds;
    }

    private static string Plan(int clients, int rounds, string site)
    {
        var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"name: bench\nmodel: none\nadapter: fedsa-lora\n"
            + $"strategy: {{rounds: {rounds}}}\nevaluation: {{everyRounds: {rounds}}}\ncheckpoints: {{export: false}}\nclients:\n"));
        for (var i = 0; i < clients; i++)
            yaml.Append(CultureInfo.InvariantCulture, $"  - {{id: c{i:D5}, task: t{i % 4}, site: {site}, data: {{train: none}}}}\n");
        return yaml.ToString();
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static int Number(string text) => int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

    internal static double Median(double[] values) => values.Order().ElementAt(values.Length / 2);
}
