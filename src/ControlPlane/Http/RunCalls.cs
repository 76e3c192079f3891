using System.Runtime.CompilerServices;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;

namespace FedRLora.ControlPlane.Http;

/// <summary>The runs of the silo's cluster, by name; every question is put again for as long as a lost silo is replaced.</summary>
public sealed class RunCalls(ControlServices services, ControlOptions? options = null)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    /// <summary>Who runs a run.</summary>
    public IRunControlGrain Control(string run) => services.Grains.GetGrain<IRunControlGrain>(run);

    /// <summary>Every run of the store.</summary>
    public Task<IReadOnlyList<JobProgress>> ListAsync(CancellationToken cancellationToken) =>
        AskAsync(services.Grains.GetGrain<IJobsGrain>(Keys.Jobs).ListAsync, cancellationToken);

    /// <summary>Where a run stands, with the rounds after one.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    public async Task<JobProgress> ProgressAsync(string run, int afterRound, CancellationToken cancellationToken) =>
        await AskAsync(token => Control(Named(run)).GetProgressAsync(afterRound, token), cancellationToken)
        ?? throw new NoSuchRunException(run);

    /// <summary>The plan's text.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    public async Task<string> PlanAsync(string run, CancellationToken cancellationToken) =>
        await AskAsync(Control(Named(run)).GetPlanAsync, cancellationToken) ?? throw new NoSuchRunException(run);

    /// <summary>The committed rounds after one, in order.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    public async IAsyncEnumerable<RoundSummary> RoundsAsync(
        string run, int after, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var known = after; ;)
        {
            var rounds = (await ProgressAsync(run, known, cancellationToken)).NewRounds;
            if (rounds.Count == 0) yield break;
            foreach (var round in rounds.OrderBy(static round => round.Manifest.Round))
            {
                yield return round;
                known = round.Manifest.Round;
            }
        }
    }

    /// <summary>A committed round.</summary>
    public async Task<RoundSummary> RoundAsync(string run, int round, CancellationToken cancellationToken) =>
        (await ProgressAsync(run, round - 1, cancellationToken)).NewRounds.First(one => one.Manifest.Round == round);

    /// <summary>The last committed round; -1 where none is.</summary>
    public async Task<int> LastRoundAsync(string run, CancellationToken cancellationToken)
    {
        try
        {
            var sites = await AskAsync(services.Grains.GetGrain<IRunFollowingGrain>(Named(run)).CommittedAsync, cancellationToken);
            return sites[0].Round;
        }
        catch (BadInputException)
        {
            return -1;
        }
    }

    /// <summary>Other runs than one may be here.</summary>
    /// <exception cref="RefusedException">The process is there for one run.</exception>
    public void RequireMany()
    {
        if (options is { IsOfOneRun: true })
            throw new RefusedException("this server is of one run in its process and ends with it; begin, fork and extend runs at a silo");
    }

    /// <summary>Has a run do something.</summary>
    /// <exception cref="NoSuchRunException">There is no such run.</exception>
    /// <exception cref="RefusedException">It is not in a state for that.</exception>
    public async Task SteerAsync(string run, Func<IRunControlGrain, Task> call, CancellationToken cancellationToken)
    {
        await ProgressAsync(run, int.MaxValue - 1, cancellationToken);
        try
        {
            await call(Control(run));
        }
        catch (BadInputException e)
        {
            throw new RefusedException(e.Message, e);
        }
    }

    /// <summary>The answer to a question that changes nothing.</summary>
    public Task<T> AskAsync<T>(Func<CancellationToken, Task<T>> ask, CancellationToken cancellationToken) =>
        PatientQuestion.AskAsync(ask, Patience, time: services.Time, cancellationToken: cancellationToken);

    /// <summary>A text that may be a run's name.</summary>
    /// <exception cref="NoSuchRunException">It may not.</exception>
    public static string Named(string run) => Identifiers.IsValid(run) ? run : throw new NoSuchRunException(run);
}

/// <summary>There is no such thing: 404.</summary>
public class NoSuchThingException(string message) : Exception(message);

/// <summary>There is no such run: 404.</summary>
public sealed class NoSuchRunException(string run)
    : NoSuchThingException($"There is no run {BadInputException.Shown(run)}; GET /v1/runs lists them.");

/// <summary>A run does not take what is asked of it as it stands: 409.</summary>
public sealed class RefusedException(string message, Exception? innerException = null) : Exception(message, innerException);
