using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;

namespace FedRLora.Grains.Coordination;

/// <summary>Says where a job stands, to whoever asks.</summary>
internal sealed class ProgressAnswer(CoordinatorServices services, OpenJob job, RoundClock clock)
{
    private const int MostClients = 50_000; // some 20 MB, a fifth of what a message may hold
    private const int MostMissing = 5;

    /// <summary>The answer with the rounds after <paramref name="afterRound"/>, as many as a message holds.</summary>
    public async Task<JobProgress> AnswerAsync(int afterRound, CancellationToken cancellationToken)
    {
        var (state, gate) = (job.Shown, job.Gate); // all of it before the first await: others take their turns meanwhile
        var facts = Facts(state, gate);
        var (reported, of) = job.Machine.Progress(state);
        var answer = new JobProgress
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
        return answer with { NewRounds = await RoundsAsync(afterRound, state.Committed, cancellationToken) };
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
        var rounds = new List<RoundSummary>();
        var most = Math.Max(1, MostClients / job.Plan.Clients.Count);
        var last = (int)Math.Min((long)afterRound + most, committed);
        if (last <= afterRound || job.Committed is not { Round: var newest } || job.CommittedSha256 is not { } digest) return rounds;
        try
        {
            var current = new CurrentRound { Round = newest, ManifestSha256 = digest };
            foreach (var (manifest, sha256) in await job.Log.ManifestsAsync(afterRound + 1, last, current, cancellationToken))
            {
                rounds.Add(new RoundSummary
                {
                    Manifest = manifest,
                    ManifestSha256 = sha256,
                    Seconds = await job.Log.SecondsAsync(manifest.Round, cancellationToken),
                });
            }
        }
        catch (StoreUnavailableException e)
        {
            services.Logger.LogStoreAway(job.Id, e.Message); // the caller learns where the job stands, and asks for these rounds again
        }

        return rounds;
    }
}
