using System.Reflection;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.EndToEnd.Tests.Client;
using FedRLora.Grains.Coordination;
using FedRLora.Silo.Storage;
using FedRLora.Silo.Trackers;
using Microsoft.Extensions.Logging.Abstractions;

namespace FedRLora.EndToEnd.Tests.Trackers;

/// <summary>Two silos with the option, between which the coordinator of a run moves.</summary>
public sealed class MovedCoordinatorTests : IDisposable
{
    private const string Run = "demo";

    private readonly string _folder = Directory.CreateTempSubdirectory("fedrlora-moved-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task The_next_silo_goes_on_in_the_same_run_with_the_point_after_the_last()
    {
        await using var server = new MlflowStandIn();
        using var store = new DirectoryBlobStore(_folder, StoreMode.Private, Durability.Fast);
        var coordinator = new ScriptedCoordinator(Run);
        var (north, south) = (new CoordinatedRuns(), new CoordinatedRuns());
        using var ofNorth = Export(server, north, store, coordinator);
        using var ofSouth = Export(server, south, store, coordinator);
        await ofNorth.StartAsync(CancellationToken.None);
        await ofSouth.StartAsync(CancellationToken.None);

        var here = north.Add(Run);
        coordinator.Committed = 1;
        await server.UntilAsync(static runs => runs.Any(static run => run.Points.Any(static point => point.Step == 1)));
        here.Dispose();
        await ofNorth.StopAsync(CancellationToken.None);
        using var there = south.Add(Run);
        (coordinator.Committed, coordinator.Status) = (3, JobStatus.Finished);
        await server.UntilAsync(static runs => runs.Any(static run => run.Status == "FINISHED"));
        await ofSouth.StopAsync(CancellationToken.None);

        var run = Assert.Single(server.Runs);
        Assert.Equal([0, 1, 2, 3], run.Points.Where(static point => point.Key == "score by task/sst2").Select(static point => point.Step));
        Assert.Equal(run.Points.Count, run.Points.DistinctBy(static point => (point.Key, point.Step)).Count());
        Assert.Equal("finished", run.Tags["fedrlora.state"]);
        Assert.Empty(server.Faults);
    }

    [Theory]
    [InlineData(JobStatus.Failed, "FAILED", "failed")]
    [InlineData(JobStatus.Cancelled, "KILLED", "cancelled")]
    [InlineData(JobStatus.Running, "KILLED", "stopped")]
    [InlineData(JobStatus.Paused, "KILLED", "paused")]
    public async Task A_run_is_not_left_running_there_when_its_silo_ends(JobStatus status, string expected, string state)
    {
        await using var server = new MlflowStandIn();
        using var store = new DirectoryBlobStore(_folder, StoreMode.Private, Durability.Fast);
        var coordinator = new ScriptedCoordinator(Run) { Committed = 2 };
        var runs = new CoordinatedRuns();
        using var export = Export(server, runs, store, coordinator);
        await export.StartAsync(CancellationToken.None);
        using var here = runs.Add(Run);
        await server.UntilAsync(static runs => runs.Any(static run => run.Points.Any(static point => point.Step == 2)));

        coordinator.Status = status;
        await export.StopAsync(CancellationToken.None);

        var run = Assert.Single(server.Runs);
        Assert.Equal((expected, state), (run.Status, run.Tags["fedrlora.state"]));
        Assert.Empty(server.Faults);
    }

    private static MlflowExport Export(
        MlflowStandIn server, CoordinatedRuns runs, IBlobStore store, ScriptedCoordinator coordinator) => new(
        new MlflowServer(server.Url, Experiment: null), runs, Proxy<IGrainFactory>.Of((_, _) => coordinator.Grain), new Stores(store),
        new TrackerSettings { LookEvery = TimeSpan.FromMilliseconds(20) }, TimeProvider.System, NullLogger<MlflowExport>.Instance);

    private sealed record Stores(IBlobStore Job) : IBlobStores
    {
        public IBlobStore Site => Job;
    }

    // The made-up run, as far as it is committed.
    private sealed class ScriptedCoordinator(string run)
    {
        public int Committed { get; set; } = -1;

        public JobStatus Status { get; set; } = JobStatus.Running;

        public IRunControlGrain Grain => Proxy<IRunControlGrain>.Of((method, arguments) => method switch
        {
            nameof(IRunControlGrain.GetPlanAsync) => Task.FromResult<string?>(SampleRun.Yaml),
            nameof(IRunControlGrain.GetProgressAsync) => Task.FromResult<JobProgress?>(SampleRun.Progress(
                Status, null,
                [.. SampleRun.Rounds().Where(round => round.Manifest.Round > (int)arguments[0]! && round.Manifest.Round <= Committed)])
                with { JobId = run }),
            _ => throw new NotSupportedException(method),
        });
    }
}

/// <summary>An interface of which a test answers the few calls that it expects.</summary>
public class Proxy<T> : DispatchProxy
    where T : class
{
    private Func<string, object?[], object?>? _answer;

    internal static T Of(Func<string, object?[], object?> answer)
    {
        var made = Create<T, Proxy<T>>();
        ((Proxy<T>)(object)made)._answer = answer;
        return made;
    }

    /// <inheritdoc/>
    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args) => _answer!(targetMethod!.Name, args ?? []);
}
