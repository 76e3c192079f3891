using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Tests;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Orleans;
using Orleans.Hosting;

namespace FedRLora.Benchmarks;

/// <summary>Many clients of which a small share works in each round, without training: seconds, memory, and calls between actors.</summary>
internal static class PopulationBenchmark
{
    private const double Fraction = 0.05;
    private const int UpdateFloats = 2_500; // 10 kB

    /// <param name="args">
    /// Clients and rounds, by default 10000 and 20; <c>scored</c>: every client also has test rows, scored at the start and the end.
    /// </param>
    public static async Task RunAsync(string[] args)
    {
        var numbers = args.Where(static text => char.IsAsciiDigit(text[0]))
            .Select(static text => int.Parse(text, CultureInfo.InvariantCulture)).ToArray();
        var (clients, rounds) = (numbers.ElementAtOrDefault(0) is > 0 and var many ? many : 10_000,
            numbers.ElementAtOrDefault(1) is > 0 and var more ? more : 20);
        var folder = Directory.CreateTempSubdirectory("fedrlora-population-").FullName;
        try
        {
            await RunAsync(folder, clients, rounds, args.Contains("scored"));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static async Task RunAsync(string folder, int clients, int rounds, bool scored)
    {
        var (siloPort, gatewayPort) = SiloPorts.Free();
        var trainer = new FakeTrainer(UpdateFloats);
        var calls = new CallCounter();
        var options = new SiloOptions
        {
            Name = "all", Sites = ["*"], Root = folder, Store = Path.Combine(folder, "store"), SiloPort = siloPort,
            GatewayPort = gatewayPort, ResendAfter = TimeSpan.FromMinutes(5),
        };
        using var host = SiloHost.Create(options, builder =>
        {
            builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(trainer);
            builder.Services.RemoveAll<IAdapterExporter>().AddSingleton<IAdapterExporter>(trainer);
            builder.Services.RemoveAll<IRunInputs>().AddSingleton<IRunInputs>(new FakeInputs());
            builder.Services.AddSingleton<IIncomingGrainCallFilter>(calls);
        });
        await host.StartAsync();
        var before = ChildProcess.PeakMegabytes();
        var coordinator = host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>("population");
        var started = Stopwatch.GetTimestamp();
        await coordinator.SubmitAsync(Plan(clients, rounds, scored));
        JobProgress progress;
        while ((progress = (await coordinator.GetProgressAsync(int.MaxValue - 1))!).Status == JobStatus.Running) await Task.Delay(100);
        var seconds = Stopwatch.GetElapsedTime(started).TotalSeconds;
        if (progress.Status != JobStatus.Finished) throw new InvalidOperationException(progress.Reason);

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{clients:N0} clients, {Fraction:P0} a round, {rounds} rounds, "
            + $"updates of {UpdateFloats * 4 / 1e3:0} kB{(scored ? ", all scored at the start and the end" : "")}: {seconds:F2} s, "
            + $"{seconds / rounds:F3} s a round"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"peak memory {ChildProcess.PeakMegabytes():F0} MB, of which {before:F0} before the job began"));
        var counts = calls.Counts.OrderBy(static one => one.Key)
            .Select(one => string.Create(CultureInfo.InvariantCulture, $"{one.Key} {(double)one.Value / rounds:F1}"));
        Console.WriteLine($"calls a round: {string.Join(", ", counts)}");
        Console.WriteLine(
            $"{trainer.Trained.Count} trainings of {trainer.Trained.Select(static one => one.Client).Distinct().Count()} clients");
        await host.StopAsync();
    }

    private static string Plan(int clients, int rounds, bool scored)
    {
        var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture,
            $"name: population\nmodel: none\nadapter: fedsa-lora\n"
                + $"strategy: {{rounds: {rounds}, selection: {{rule: uniform, fraction: {Fraction}}}}}\n"
                + $"evaluation: {{everyRounds: {rounds}}}\ncheckpoints: {{export: false}}\nclients:\n"));
        for (var i = 0; i < clients; i++)
            yaml.Append(CultureInfo.InvariantCulture,
                $"  - {{id: c{i:D5}, task: t{i % 4}, data: {{train: none{(scored ? ", test: none" : "")}}}}}\n");
        return yaml.ToString();
    }

    /// <summary>Calls that reached an actor of ours, by interface and method; questions for progress are the watcher's.</summary>
    private sealed class CallCounter : IIncomingGrainCallFilter
    {
        public ConcurrentDictionary<string, long> Counts { get; } = new(StringComparer.Ordinal);

        public Task Invoke(IIncomingGrainCallContext context)
        {
            if (context.InterfaceMethod?.DeclaringType is { Namespace: "FedRLora.Abstractions.Grains" } actor
                && context.MethodName != nameof(IRunControlGrain.GetProgressAsync))
                Counts.AddOrUpdate($"{actor.Name[1..^5].ToLowerInvariant()} {context.MethodName[..^5].ToLowerInvariant()}", 1,
                    static (_, count) => count + 1);
            return context.Invoke();
        }
    }
}
