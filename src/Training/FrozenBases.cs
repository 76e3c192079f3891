using System.Collections.Concurrent;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Training.Inputs;
using FedRLora.Training.Lanes;

namespace FedRLora.Training;

/// <summary>The models of a device, each mapped once however many groups ask for it at a time.</summary>
/// <param name="lanes">Where they are loaded; who waits for one does so outside.</param>
/// <param name="inputs">Says what a folder holds.</param>
internal sealed class FrozenBases(DeviceLanes lanes, LocalInputs inputs) : IDisposable
{
    private readonly ConcurrentDictionary<(string Folder, WeightStorage Storage), Loading> _models = new();
    private readonly ConcurrentDictionary<(string Folder, WeightStorage Storage), FrozenBase> _loaded = new();
    private int _loads;

    /// <summary>How often a model was mapped.</summary>
    public int Loads => Volatile.Read(ref _loads);

    /// <summary>The model of a plan with the content that its folder has now.</summary>
    /// <param name="plan">Names the folder and how weights are stored.</param>
    /// <param name="folder">The folder's full path.</param>
    /// <param name="cancellationToken">Ends the wait, not the load, which others may wait for.</param>
    /// <exception cref="BadInputException">The folder is not usable, or was changed while it was loaded.</exception>
    public async Task<FrozenBase> GetAsync(FederationPlan plan, string folder, CancellationToken cancellationToken)
    {
        var parts = (await inputs.BaseAsync(plan, cancellationToken)).Parts;
        var key = (folder, plan.Model.Storage);
        while (true)
        {
            var loading = _models.GetOrAdd(key, _ => new(parts, new(() => LoadAsync(folder, plan.Model.Storage, parts))));
            if (loading.Parts == parts && !loading.HasFailed) return await loading.Model.Value.WaitAsync(cancellationToken);
            // One before it, of a folder that was changed, may still be in use: it goes with its last user. Where a load has failed,
            // whether or not anybody still waited for it, the next who asks tries again.
            _models.TryUpdate(key, new(parts, new(() => LoadAsync(folder, plan.Model.Storage, parts))), loading);
        }
    }

    /// <summary>Frees what was loaded; the lanes have ended.</summary>
    public void Dispose()
    {
        foreach (var model in _loaded.Values) model.Dispose();
        _loaded.Clear();
    }

    // A prompt may wait for it, or a group of another run: it waits for no group.
    private Task<FrozenBase> LoadAsync(string folder, WeightStorage storage, BaseParts parts) =>
        lanes.RunBetweenAsync(threads: 1, (_, stopped) =>
        {
            Interlocked.Increment(ref _loads);
            var loaded = FrozenBase.Load(folder, lanes.Device, storage, parts);
            try
            {
                if (inputs.BaseOf(folder, stopped).Parts == parts) return _loaded[(folder, storage)] = loaded;
            }
            catch
            {
                loaded.Dispose();
                throw;
            }

            loaded.Dispose();
            throw new BadInputException($"{folder}: was changed while it was loaded; wait until that is done");
        }, CancellationToken.None);

    private sealed record Loading(BaseParts Parts, Lazy<Task<FrozenBase>> Model)
    {
        public bool HasFailed => Model is { IsValueCreated: true, Value: { IsCompleted: true, IsCompletedSuccessfully: false } };
    }
}
