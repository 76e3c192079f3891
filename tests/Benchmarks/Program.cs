using System.Diagnostics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Benchmarks;
using FedRLora.Grains.Tests;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;

if (args is ["loading", ..])
{
    await FedRLora.Benchmarks.Loading.RunAsync(args[1..]);
    return;
}

if (args is ["training", ..])
{
    await FedRLora.Benchmarks.Training.TrainingBenchmark.RunAsync(args[1..]);
    return;
}

if (args is ["tokenizers", ..])
{
    TokenizerBenchmark.Run();
    return;
}

// Rounds without training: what a federation costs by itself. Every client writes a 100 kB update, a head and an optimizer state;
// the coordinator reads each update once. The reference of the same run writes and reads the same bytes as plain files.
const int Elements = 25_000;
const int Rounds = 3;
int[] cohorts = args.Length > 0 ? [.. args.Select(static text => int.Parse(text, CultureInfo.InvariantCulture))] : [100, 1_000, 10_000];
Console.WriteLine("clients  round s  plain files s  ratio  managed MB before  peak MB  kB of bookkeeping per client");
foreach (var clients in cohorts)
{
    var folder = Directory.CreateTempSubdirectory("fedrlora-bench-").FullName;
    try
    {
        var before = GC.GetTotalMemory(forceFullCollection: true) / 1e6;
        var (seconds, peak, notesBytes) = await RunAsync(folder, clients);
        var plain = PlainFiles(Path.Combine(folder, "plain"), clients);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{clients,7}  {seconds,7:F2}  {plain,13:F2}  {seconds / plain,5:F1}  {before,17:F0}  {peak,7:F0}  {notesBytes / 1000.0 / clients:F2}"));
    }
    finally
    {
        Directory.Delete(folder, recursive: true);
    }
}

static async Task<(double Seconds, double PeakMegabytes, long NotesBytes)> RunAsync(string folder, int clients)
{
    var trainer = new FakeTrainer(Elements);
    var (siloPort, gatewayPort) = SiloPorts.Free();
    using var host = SiloHost.Create(
        new SiloOptions { Name = "bench", Sites = ["*"], Root = folder, Store = Path.Combine(folder, "store"), SiloPort = siloPort, GatewayPort = gatewayPort, ResendAfter = TimeSpan.FromMinutes(5) },
        builder =>
        {
            builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(trainer);
            builder.Services.RemoveAll<IAdapterExporter>().AddSingleton<IAdapterExporter>(trainer);
        });
    await host.StartAsync();
    var coordinator = host.Services.GetRequiredService<IGrainFactory>().GetGrain<ICoordinatorGrain>("bench");
    await coordinator.SubmitAsync(Plan(clients));
    var (peak, seconds) = (0.0, new List<double>());
    while (true)
    {
        var progress = await coordinator.GetProgressAsync(seconds.Count - 1) ?? throw new InvalidOperationException("the job is gone");
        seconds.AddRange(progress.NewRounds.Select(static round => round.Seconds));
        peak = Math.Max(peak, GC.GetTotalMemory(forceFullCollection: false) / 1e6);
        if (progress.Status == JobStatus.Failed) throw new InvalidOperationException(progress.Reason);
        if (progress.Status == JobStatus.Finished) break;
        await Task.Delay(50);
    }

    var notes = new FileInfo(Path.Combine(folder, "store", "grains", "job", "bench.json")).Length;
    var manifest = new FileInfo(Path.Combine(folder, "store", "jobs", "bench", "rounds", "1", "manifest.json")).Length;
    await host.StopAsync();
    return (seconds.Skip(1).Order().ElementAt(Rounds / 2), peak, Math.Max(notes, manifest));
}

static double PlainFiles(string folder, int clients)
{
    Directory.CreateDirectory(folder);
    var bytes = new byte[Elements * sizeof(float)];
    var started = Stopwatch.GetTimestamp();
    for (var i = 0; i < clients; i++) File.WriteAllBytes(Path.Combine(folder, i.ToString(CultureInfo.InvariantCulture)), bytes);
    for (var i = 0; i < clients; i++) _ = File.ReadAllBytes(Path.Combine(folder, i.ToString(CultureInfo.InvariantCulture)));
    return Stopwatch.GetElapsedTime(started).TotalSeconds;
}

static string Plan(int clients)
{
    var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"name: bench\nmodel: none\nadapter: fedsa-lora\nstrategy: {{rounds: {Rounds}}}\nevaluation: {{everyRounds: {Rounds}}}\ncheckpoints: {{export: false}}\nclients:\n"));
    for (var i = 0; i < clients; i++) yaml.Append(CultureInfo.InvariantCulture, $"  - {{id: c{i:D5}, task: t{i % 4}, data: {{train: none}}}}\n");
    return yaml.ToString();
}
