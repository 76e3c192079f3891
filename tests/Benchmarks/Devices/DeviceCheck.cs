using System.Diagnostics;
using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training;
using FedRLora.Training.Devices;
using static TorchSharp.torch;

namespace FedRLora.Benchmarks.Devices;

/// <summary>
/// What a device computes, beside the processor: known answers, gradients of methods, a small federation, groups on two devices. A table
/// with a line for each; ends with 1 where one is wrong.
/// </summary>
internal static class DeviceCheck
{
    // Of the largest entry of a tensor: float32 on two kinds of kernels.
    private const double MostApart = 1e-4;
    private const int Rounds = 4, Steps = 12;

    private const int Width = 27;

    private static bool _isRight = true;

    /// <param name="args">A device, and the folder with <c>model</c> and <c>tasks</c>, by default <c>samples</c>.</param>
    public static async Task RunAsync(string[] args)
    {
        var (device, samples) = (args.ElementAtOrDefault(0) ?? "cpu", Path.GetFullPath(args.ElementAtOrDefault(1) ?? "samples"));
        var kind = device.Split(':')[0];
        Say("library", $"TorchSharp {Engine.TorchSharpVersion}, libtorch {Libtorch.Version}", isRight: Libtorch.Problem is null);
        if (Problem(device) is { } problem)
        {
            Say("device", problem, isRight: false);
        }
        else
        {
            foreach (var name in new[] { "cpu", device }.Distinct())
            {
                var wrong = KnownAnswers.Wrong(DeviceNames.DeviceOf(name));
                Say($"known answers, {name}", wrong.Count == 0 ? "all right" : string.Join("; ", wrong), wrong.Count == 0);
            }

            using var processor = new LocalTrainer(new() { Root = samples });
            using var other = new LocalTrainer(new() { Root = samples, Device = device });
            Say("engine", other.Device!.Engine, isRight: true);
            foreach (var method in (string[])["lora", "dora", "r-lora", "r-lora-federated", "hydra-lora", "malora"])
                await TryAsync($"gradients, {method}", () => GradientsAsync(method, processor, other));
            await TryAsync("federation", () => FederationAsync(other));
            await TryAsync("two devices", () => PlacementAsync(kind, samples, processor));
        }

        Environment.ExitCode = _isRight ? 0 : 1;
    }

    private static string? Problem(string device)
    {
        try
        {
            var names = DeviceNames.Parse("device", device);
            return names.Count > 1 ? $"{device}: give one" : Gpus.Problem(names);
        }
        catch (BadInputException e)
        {
            return e.Message;
        }
    }

    // A device that fails in one check is tried with the others.
    private static async Task TryAsync(string check, Func<Task> work)
    {
        try
        {
            await work();
        }
#pragma warning disable CA1031 // Whatever it is, it is the result.
        catch (Exception e)
#pragma warning restore CA1031
        {
            Say(check, $"{e.GetType().Name}: {e.Message.Split('\n')[0]}", isRight: false);
        }
    }

    // One step of plain descent at rate 1 without clipping moves each tensor by its gradient.
    private static async Task GradientsAsync(string method, LocalTrainer processor, LocalTrainer other)
    {
        var plan = PlanOf(method,
            "{steps: 1, batchSize: 4, optimizer: sgd, learningRate: 1, warmupSteps: 0, schedule: constant, clipNorm: 0}");
        var (one, two) = (await TrainedAsync(processor, plan, null), await TrainedAsync(other, plan, null));
        var apart = one.Zip(two).SelectMany(static pair => Changes(pair.First).Zip(Changes(pair.Second))).Max(static pair =>
        {
            var most = pair.First.Data.Max(Math.Abs);
            return most == 0 ? 0 : pair.First.Data.Zip(pair.Second.Data, static (a, b) => Math.Abs(a - b)).Max() / most;
        });
        Say($"gradients, {method}", string.Create(CultureInfo.InvariantCulture, $"{apart:G3} of the largest apart"), apart <= MostApart);

        static IEnumerable<NamedArray> Changes(TrainingResult result) => result.Update!.Values.Concat(result.Head!.Values);
    }

    // Some rounds of averaging, as a coordinator does: the loss has to fall, and the same again has to give the same bits.
    private static async Task FederationAsync(LocalTrainer trainer)
    {
        var plan = PlanOf("lora", string.Create(CultureInfo.InvariantCulture,
            $"{{steps: {Steps}, batchSize: 8, learningRate: 5e-3, warmupSteps: 4}}"));
        var (started, digests, losses) = (Stopwatch.GetTimestamp(), new List<string>(), new List<double>());
        for (var time = 0; time < 2; time++)
        {
            AdapterState? shared = null;
            losses.Clear();
            for (var round = 1; round <= Rounds; round++)
            {
                var before = shared ?? await trainer.InitialSharedAsync(plan);
                var results = await TrainedAsync(trainer, plan, before, round);
                losses.Add(results.Average(static result => result.Numbers.MeanLoss));
                shared = Mean(before, [.. results.Select(static result => result.Update!)]);
            }

            digests.Add(Digest(shared!));
        }

        var equal = digests[0] == digests[1];
        Say("federation", string.Create(CultureInfo.InvariantCulture,
            $"loss {losses[0]:F3} to {losses[^1]:F3} in {Rounds} rounds of {Steps} steps, "
            + $"{Stopwatch.GetElapsedTime(started).TotalSeconds / 2:F1} s; again {(equal ? "equal bits" : "OTHER bits")}"),
            equal && losses[^1] < losses[0]);
    }

    private static async Task PlacementAsync(string kind, string samples, LocalTrainer processor)
    {
        if (kind != "cpu" && cuda.device_count() < 2)
        {
            Say("two devices", "there is one", isRight: true);
            return;
        }

        var plan = PlanOf("fedsa-lora", "{steps: 4, batchSize: 4, learningRate: 5e-3, warmupSteps: 1}");
        // Memory that is asked for, so that both are at home to one client, whatever is free on them.
        using var both = new DeviceTrainers(new() { Root = samples, LaneBytes = 2L << 30 }, [$"{kind}:0", $"{kind}:1"]);
        using var one = kind == "cpu" ? null : new LocalTrainer(new() { Root = samples, Device = $"{kind}:0" });
        try
        {
            _ = await both.FingerprintAsync(plan);
        }
        catch (BadInputException e)
        {
            Say("two devices", $"not compared: {e.Message}", isRight: true);
            return;
        }

        var shared = await both.InitialSharedAsync(plan);
        var groups = plan.Clients.Select(
            client => new TrainingGroup { Plan = plan, Round = 1, Shared = shared, Members = [new() { Client = client }] });
        var (placed, alone) = (new List<TrainingResult>(), new List<TrainingResult>());
        foreach (var result in await Task.WhenAll(groups.Select(group => both.TrainAsync(group)))) placed.AddRange(result);
        foreach (var group in groups) alone.AddRange(await (one ?? processor).TrainAsync(group));
        var equal = placed.Zip(alone).All(static pair => Digest(Whole(pair.First)) == Digest(Whole(pair.Second)));
        var loads = both.Trainers.Select(static trainer => trainer.Loads).ToList();
        Say("two devices",
            $"{both.Device!.Name}: a base loaded {string.Join(" and ", loads)} times, {(equal ? "bits of one device" : "OTHER bits")}",
            equal && loads.All(static count => count == 1));

        static AdapterState Whole(TrainingResult result) => new(result.Update!.Concat(result.Head!));
    }

    private static async Task<IReadOnlyList<TrainingResult>> TrainedAsync(
        LocalTrainer trainer, FederationPlan plan, AdapterState? shared, int round = 1)
    {
        shared ??= await trainer.InitialSharedAsync(plan);
        var results = await trainer.TrainAsync(new()
        {
            Plan = plan, Round = round, Shared = shared,
            Members = [.. plan.Clients.Select(static client => new GroupMember { Client = client })],
        });
        return results.FirstOrDefault(static result => result.Failure is not null) is { } failed
            ? throw new InvalidOperationException(failed.Failure) : results;
    }

    private static AdapterState Mean(AdapterState before, IReadOnlyList<AdapterState> updates) =>
        new(before.Select(entry => KeyValuePair.Create(
        entry.Key, entry.Value with
        {
            Data = [.. entry.Value.Data.Select((value, place) =>
                (float)(value + updates.Average(update => (double)update[entry.Key].Data[place])))],
        })));

    private static string Digest(AdapterState state)
    {
        using var hash = System.Security.Cryptography.IncrementalHash.CreateHash(System.Security.Cryptography.HashAlgorithmName.SHA256);
        foreach (var (name, array) in state.OrderBy(static entry => entry.Key, StringComparer.Ordinal))
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes(name));
            hash.AppendData(System.Runtime.InteropServices.MemoryMarshal.AsBytes(array.Data.AsSpan()));
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static FederationPlan PlanOf(string method, string training) => PlanReader.Require(
        $$$"""
        {name: devices, seed: 1, model: model, adapter: {method: {{{method}}}, rank: 8, alpha: 16, dropout: {site: none}},
        training: {{{training}}}, strategy: {rounds: {{{Rounds}}}},
        clients: [
        {id: one, task: topic, data: {train: tasks/topic/train.jsonl, rows: 40}},
        {id: two, task: topic, data: {train: tasks/topic/train.jsonl, offset: 100, rows: 40}}]}
        """, "plan.yaml");

    // At once: what comes after may end the process.
    private static void Say(string check, string result, bool isRight)
    {
        _isRight &= isRight;
        Console.WriteLine($"{(isRight ? "ok   " : "WRONG")}  {check.PadRight(Width)}  {result}");
        Console.Out.Flush();
    }
}
