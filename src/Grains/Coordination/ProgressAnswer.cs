using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>Says where a job stands, to whoever asks.</summary>
internal sealed class ProgressAnswer(CoordinatorServices services, OpenJob job, RoundClock clock)
{
    private const int MostMissing = 5;

    /// <summary>The answer with the rounds after <paramref name="afterRound"/>, as many as a message holds.</summary>
    public async Task<JobProgress> AnswerAsync(int afterRound, CancellationToken cancellationToken)
    {
        var (answer, committed) = (Now(), job.Shown.Committed); // before the first await: others take their turns meanwhile
        return answer with { NewRounds = await RoundsAsync(afterRound, committed, cancellationToken) };
    }

    /// <summary>Where it stands, without rounds.</summary>
    public JobProgress Now()
    {
        var (state, gate) = (job.Shown, job.Gate);
        var facts = Facts(state, gate);
        var (reported, of) = job.Machine.Progress(state);
        return new JobProgress
        {
            JobId = job.Id,
            Name = job.Plan.Name,
            Rounds = job.Plan.Strategy.Rounds,
            Round = state.Round,
            Attempt = state.Attempt,
            Reason = gate.Changed ?? (gate is Gate.Resuming ? null : gate.StoreTrouble ?? state.Reason),
            Status = StatusOf(state, gate),
            Phase = RoundMachine.NameOf(state.Phase),
            Reported = reported,
            Cohort = of,
            NewRounds = [],
            Missing =
            [
                .. state.Lost.OrderBy(static lost => lost.Key, StringComparer.Ordinal).Take(MostMissing)
                    .Select(static lost => $"{lost.Key}: {lost.Value.What}"),
            ],
            Hold = gate is Gate.Resuming && OpenJob.StatusOf(state.Phase) != JobStatus.Running ? null : job.Machine.HoldOf(state, facts),
            AbsentSites = job.Machine.HoldsOf(facts.Absent),
        };
    }

    private static JobStatus StatusOf(RoundState state, Gate gate) => gate switch
    {
        { Changed: not null } => JobStatus.Failed,
        Gate.Resuming when state.Phase != Phase.Finished => JobStatus.Running,
        { StoreTrouble: not null } => JobStatus.Paused,
        _ => OpenJob.StatusOf(state.Phase),
    };

    private HoldFacts Facts(RoundState state, Gate gate) => new()
    {
        Changed = gate.Changed,
        StoreTrouble = gate is Gate.Resuming ? null : gate.StoreTrouble,
        Stopped = clock.Stopped,
        Left = clock.Left,
        Sent = clock.SinceSent(state),
        Absent = services.Sites.Absent(job.Sites),
    };

    private async Task<IReadOnlyList<RoundSummary>> RoundsAsync(int afterRound, int committed, CancellationToken cancellationToken)
    {
        try
        {
            return await new CommittedRounds(services.Settings, job).ReadAsync(afterRound, committed, cancellationToken);
        }
        catch (StoreUnavailableException e)
        {
            services.Logger.LogStoreAway(job.Id, e.Message); // the caller learns where the job stands, and asks for these rounds again
            return [];
        }
    }
}
