using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Abstractions.Tensors;
using FedRLora.Training.Lanes;
using static TorchSharp.torch;

namespace FedRLora.Training.Devices;

/// <summary>
/// The devices of a silo, each with lanes and a frozen base of its own. A group goes to the device that it went to before, which knows its
/// rows and scores, unless that has more to do than another. No bit depends on where it went.
/// </summary>
public sealed class DeviceTrainers : ITrainer, IPrompter, IDisposable
{
    private readonly LocalTrainer[] _trainers;
    private readonly int[] _atWork; // groups and prompts, by device
    private readonly int[] _homed; // groups that are at home there
    private readonly double[] _room; // memory of their work, of all that they have
    private readonly Dictionary<string, int> _homes = new(StringComparer.Ordinal); // by a group's first client
    private readonly Lock _gate = new();

    /// <param name="options">
    /// As for one of them; lanes, memory of lanes and cache are what all have together. A GPU has one lane unless more are asked for, and
    /// the memory that is free on it.
    /// </param>
    /// <param name="devices">Their names (<see cref="DeviceNames"/>).</param>
    public DeviceTrainers(LocalTrainerOptions options, IReadOnlyList<string> devices)
    {
        ArgumentOutOfRangeException.ThrowIfZero(devices.Count);
        (_atWork, _homed) = (new int[devices.Count], new int[devices.Count]);
        var isOfHost = DeviceNames.NumberOfGpu(devices[0]) is null;
        var share = devices.Count == 1 ? options : options with
        {
            Lanes = (options.Lanes ?? (isOfHost ? DeviceLanes.CountOn(CPU) : null)) is { } lanes
                ? Math.Max(1, lanes / devices.Count) : null,
            LaneBytes = (options.LaneBytes ?? (isOfHost ? DeviceLanes.BytesOn(CPU) : null)) / devices.Count,
            MaxCachedBytes = options.MaxCachedBytes / devices.Count,
        };
        _trainers = [.. devices.Select(device => new LocalTrainer(share with { Device = device }))];
        var all = _trainers.Sum(static trainer => (double)trainer.LaneBytes);
        _room = [.. _trainers.Select(trainer => trainer.LaneBytes / all)];
    }

    /// <summary>The trainer of each device, in the order of their names.</summary>
    internal IReadOnlyList<LocalTrainer> Trainers => _trainers;

    /// <summary>Notes and forecasts are said again: another run begins.</summary>
    public void ForgetWhatWasSaid()
    {
        foreach (var trainer in _trainers) trainer.ForgetWhatWasSaid();
    }

    /// <inheritdoc/>
    public DeviceNow? Device => _trainers.Select(static trainer => trainer.Device!).Aggregate(static (all, one) => all with
    {
        Name = $"{all.Name}, {one.Name}", Lanes = all.Lanes + one.Lanes, Busy = all.Busy + one.Busy, Queued = all.Queued + one.Queued,
    });

    /// <inheritdoc/>
    /// <exception cref="BadInputException">The devices would give different bits.</exception>
    public async Task<EngineFingerprint> FingerprintAsync(FederationPlan plan, CancellationToken cancellationToken = default)
    {
        var all = await Task.WhenAll(_trainers.Select(trainer => trainer.FingerprintAsync(plan, cancellationToken)));
        return all.FirstOrDefault(other => other != all[0]) is not { } other ? all[0]
            : throw new BadInputException(
                $"the devices of this silo compute differently: {all[0].Text} and {other.Text}; give it one kind");
    }

    /// <inheritdoc/>
    public Task<int> GroupSizeAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        _trainers[0].GroupSizeAsync(plan, cancellationToken);

    /// <inheritdoc/>
    public Task<AdapterState> InitialSharedAsync(FederationPlan plan, CancellationToken cancellationToken = default) =>
        _trainers[0].InitialSharedAsync(plan, cancellationToken);

    /// <inheritdoc/>
    public Task<AdapterState> InitialOfTaskAsync(FederationPlan plan, string task, CancellationToken cancellationToken = default) =>
        _trainers[0].InitialOfTaskAsync(plan, task, cancellationToken);

    /// <inheritdoc/>
    public Task<AdvancedState> AdvanceAsync(
        FederationPlan plan, int round, AdapterState state, string? task, CancellationToken cancellationToken = default) =>
        _trainers[0].AdvanceAsync(plan, round, state, task, cancellationToken);

    /// <inheritdoc/>
    public Task<IReadOnlyList<TrainingResult>> TrainAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
        OnDeviceAsync(group, trainer => trainer.TrainAsync(group, cancellationToken));

    /// <inheritdoc/>
    public Task<IReadOnlyList<EvaluationResult>> EvaluateAsync(TrainingGroup group, CancellationToken cancellationToken = default) =>
        OnDeviceAsync(group, trainer => trainer.EvaluateAsync(group, cancellationToken));

    /// <inheritdoc/>
    public async IAsyncEnumerable<string> PromptAsync(
        TrainingGroup group, Prompt prompt,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        var device = Begin(group);
        try
        {
            await foreach (var piece in _trainers[device].PromptAsync(group, prompt, cancellationToken)) yield return piece;
        }
        finally
        {
            End(device);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var trainer in _trainers) trainer.Dispose();
    }

    private async Task<T> OnDeviceAsync<T>(TrainingGroup group, Func<LocalTrainer, Task<T>> work)
    {
        var device = Begin(group);
        try
        {
            return await work(_trainers[device]);
        }
        finally
        {
            End(device);
        }
    }

    private int Begin(TrainingGroup group)
    {
        lock (_gate)
        {
            var client = group.Members[0].Client.Id;
            if (!_homes.TryGetValue(client, out var home))
            {
                // Who has twice the memory is home to twice as many.
                _homes[client] = home = Enumerable.Range(0, _homed.Length).MinBy(device => (_homed[device] + 1) / _room[device]);
                _homed[home]++;
            }

            var device = _atWork[home] <= _atWork.Min() + 1 ? home : Array.IndexOf(_atWork, _atWork.Min());
            _atWork[device]++;
            return device;
        }
    }

    private void End(int device)
    {
        lock (_gate) _atWork[device]--;
    }
}
