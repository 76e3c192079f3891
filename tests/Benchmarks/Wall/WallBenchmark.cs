using System.Diagnostics;
using System.Globalization;
using System.Text;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.ControlPlane;
using FedRLora.ControlPlane.Http;
using FedRLora.Grains.Tests;
using FedRLora.Silo;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Benchmarks.Wall;

/// <summary>
/// The page of a run of 1,000 clients after 500 rounds, in chromium: time to its first paint and to all that is drawn, from a new round's
/// event to its frame, and memory of page and server. New rounds come of a fake trainer. The server has read none of the old ones before
/// the first visit; the second one finds its feed warm.
/// </summary>
internal static class WallBenchmark
{
    private const int Clients = 1_000, Rounds = 500, Trained = 2, NewRounds = 12;
    private const string Run = "wall";

    /// <param name="args">
    /// <c>--tasks 10,1000</c>, <c>--clients N</c>, <c>--rounds N</c>; <c>--phone</c> has a page of 400 pixels; <c>--trace</c> says what
    /// takes the time of updates; <c>--store FOLDER</c> keeps the rounds for the next time.
    /// </param>
    public static async Task RunAsync(string[] args)
    {
        if (args is ["one", ..])
        {
            await OneAsync(args[1..]);
            return;
        }

        if (!Directory.Exists(Path.Combine(Scripts, "node_modules")))
        {
            Console.WriteLine("wall: skipped, the packages are missing: npm ci --prefix tests/wall");
            return;
        }

        var kept = CommandLine.Option(args, "--store");
        var clients = CommandLine.Option(args, "--clients") ?? Text(Clients);
        var rounds = CommandLine.Option(args, "--rounds") ?? Text(Rounds);
        foreach (var tasks in CommandLine.Option(args, "--tasks")?.Split(',') ?? ["10", "1000"])
        {
            var folder = kept is null ? Directory.CreateTempSubdirectory("fedrlora-wall-").FullName
                : Directory.CreateDirectory(Path.Combine(kept, $"{clients}x{rounds}-{tasks}")).FullName;
            try
            {
                string[] of = [folder, tasks, clients, rounds];
                if (!Directory.Exists(Path.Combine(folder, "store"))) await ProcessAsync("make", of);
                Console.WriteLine($"{clients} clients in {tasks} tasks, {rounds} rounds");
                await ProcessAsync("show", [.. of, .. args.Where(static word => word is "--phone" or "--trace")]);
            }
            finally
            {
                if (kept is null) Directory.Delete(folder, recursive: true);
            }
        }
    }

    private static string Scripts => Path.Combine(CommandLine.Root(), "tests", "wall");

    // In processes of their own: what made the rounds is not what shows them.
    private static async Task ProcessAsync(string part, string[] args)
    {
        string[] program = Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
            ? [typeof(WallBenchmark).Assembly.Location] : [];
        using var child = Process.Start(new ProcessStartInfo(Environment.ProcessPath!, [.. program, "wall", "one", part, .. args]))!;
        await child.WaitForExitAsync();
        if (child.ExitCode != 0) throw new InvalidOperationException($"{part} ended with {child.ExitCode}");
    }

    private static async Task OneAsync(string[] args)
    {
        var (part, folder) = (args[0], args[1]);
        var (tasks, clients, rounds) = (Number(args[2]), Number(args[3]), Number(args[4]));
        var free = part == "make" ? Trained : rounds;
        var gate = new SemaphoreSlim(0);
        var trainer = new FakeTrainer
        {
            BeforeTraining = (group, token) => group.Round <= free ? Task.CompletedTask : gate.WaitAsync(token),
        };
        using var host = Host(folder, trainer);
        await host.StartAsync();
        var run = host.Services.GetRequiredService<IGrainFactory>().GetGrain<IRunControlGrain>(Run);
        try
        {
            if (part == "make")
            {
                await run.SubmitAsync(Plan(tasks, clients, rounds + NewRounds));
                while ((await run.GetProgressAsync(int.MaxValue - 1))!.Round <= Trained) await Task.Delay(100);
            }
            else await ShowAsync(host, () => gate.Release(clients), args[5..]);
        }
        finally
        {
            await host.StopAsync(); // before it is disposed, which a run that goes on would take for a failure
        }

        if (part == "make") await MadeRounds.CommitAsync(Path.Combine(folder, "store"), Run, rounds);
    }

    private static async Task ShowAsync(IHost host, Action letRound, string[] options)
    {
        var before = Resident();
        var server = host.Services.GetRequiredService<ControlServer>();
        using var node = Process.Start(new ProcessStartInfo("node",
            [Path.Combine(Scripts, "bench.mjs"), $"{server.EntranceAddress()}", Run, Text(NewRounds - 2), .. options])
        {
            RedirectStandardInput = true, RedirectStandardOutput = true,
        })!;
        while (await node.StandardOutput.ReadLineAsync() is { } line)
        {
            if (line == "round") letRound();
            else if (line == "visit")
            {
                await node.StandardInput.WriteLineAsync($"{server.EntranceAddress()}");
                await node.StandardInput.FlushAsync();
            }
            else Console.WriteLine($"  {line}");
        }

        await node.WaitForExitAsync();
        if (node.ExitCode != 0) throw new InvalidOperationException($"bench.mjs ended with {node.ExitCode}");
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"  server: {before:F0} MB resident before the first visit, {Resident():F0} MB at the end, "
                + $"{ChildProcess.PeakMegabytes():F0} MB at most"));
    }

    private static double Resident() => Environment.WorkingSet / 1e6;

    private static IHost Host(string folder, FakeTrainer trainer)
    {
        var (silo, gateway) = SiloPorts.Free();
        return SiloHost.Create(
            new SiloOptions
            {
                Name = "all", Sites = ["*"], Root = folder, Store = Path.Combine(folder, "store"), SiloPort = silo, GatewayPort = gateway,
                Durability = Durability.Fast, ResendAfter = TimeSpan.FromMinutes(30), BeginsReferences = false,
                Control = ControlOptions.OnPort(0) with { TokenFile = Path.Combine(folder, "token") },
            },
            builder =>
            {
                builder.Logging.SetMinimumLevel(LogLevel.Error).AddSimpleConsole();
                builder.Services.RemoveAll<ITrainer>().AddSingleton<ITrainer>(trainer);
                builder.Services.RemoveAll<IAdapterExporter>().AddSingleton<IAdapterExporter>(trainer);
                builder.Services.RemoveAll<IRunInputs>().AddSingleton<IRunInputs>(new FakeInputs());
            });
    }

    private static string Plan(int tasks, int clients, int rounds)
    {
        var yaml = new StringBuilder(string.Create(CultureInfo.InvariantCulture, $"name: wall\nmodel: none\nadapter: fedsa-lora\n"
            + $"strategy: {{rounds: {rounds}}}\nevaluation: {{everyRounds: 1}}\ncheckpoints: {{export: false}}\nclients:\n"));
        for (var i = 0; i < clients; i++)
            yaml.Append(CultureInfo.InvariantCulture,
                $"  - {{id: c{i:D5}, task: t{i % tasks:D4}, site: s{i % 8}, data: {{train: none, test: none}}}}\n");
        return yaml.ToString();
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static int Number(string text) => int.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
}
