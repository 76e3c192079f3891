using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;
using Orleans.Runtime;

namespace FedRLora.Grains.Coordination;

/// <summary>Gives the open round's cohort its work, asks sites to confirm, and asks again whoever is silent.</summary>
internal sealed class CohortCalls(
    CoordinatorServices services, OpenJob job, EventQueue events, RoundClock clock, SiteCalls sites, RunTelemetry telemetry,
    RunEventLog news)
{
    private static readonly Dictionary<string, string> NobodyMissing = [];
    private readonly HashSet<(string Site, int Round, int Attempt, int Confirmation)> _asking = []; // sites that have not answered yet
    private int _heard;
    private int _heardAtLastTick;

    /// <summary>
    /// Takes the reports of a site; what it says of another site's clients counts for nothing. One that is at work for a run that has
    /// stopped was not reached when it did, and is stopped now.
    /// </summary>
    public void Hear(SiteReport report)
    {
        if (job.IsStopped) _ = sites.CancelAsync([report.Site], events.Stopping);
        var isOver = job.Status is JobStatus.Finished or JobStatus.Failed or JobStatus.Cancelled;
        var late = report.Clients.Where(client => isOver || client.Round < job.State.WorkOf(client.ClientId).Round).ToList();
        if (late.Count > 0)
            services.Logger.LogLate(job.Id, report.Site, late[0].Round, late.Count, job.State.Round, job.StatusName);
        foreach (var client in report.Clients)
        {
            if (!job.IsOf(report.Site, client.ClientId))
            {
                services.Logger.LogNotItsClient(job.Id, report.Site, client.ClientId);
                continue;
            }

            var seconds = clock.SinceSent(job.State, client.Phase)?.TotalSeconds;
            _heard++;
            telemetry.Heard(client, seconds);
            events.Post(new RoundEvent.ClientReported(client, seconds));
        }
    }

    /// <summary>Whoever was silent since the last tick is asked again, and so is a site that the round went on without.</summary>
    public void Tick()
    {
        news.Changed(); // sites come and go without an event
        if (job.Gate.Changed is not null) return;
        if (_heard == _heardAtLastTick && job.Machine.Waiting(job.State).Count > 0) events.Post(new RoundEvent.ResendDue());
        _heardAtLastTick = _heard;
        foreach (var site in job.State.LostSites) _ = AskLostAsync(site);
    }

    /// <summary>Sends the work of a phase to those of its clients that are still waited for.</summary>
    public async Task SendAsync(RoundEffect.SendAssignments send, CancellationToken stopping)
    {
        clock.Sending(job.State, send.Phase);
        if (send.Phase == RoundPhase.Evaluate) telemetry.Trace.BeginEvaluation();
        using var part = telemetry.Trace.Begin("send");
        // An effect of a batch may have been overtaken by a later one: only who is still waited for is asked.
        var asked = job.Machine.Waiting(job.State).Intersect(send.Clients, StringComparer.Ordinal).ToHashSet(StringComparer.Ordinal);
        part.Tag("clients", asked.Count);
        if (send.Phase == RoundPhase.Train) telemetry.Times.Sent(job.State, asked);
        using var calling = CancellationTokenSource.CreateLinkedTokenSource(stopping, events.Interrupted);
        var work = await job.AssignmentsAsync(send.Phase, asked, stopping);
        try
        {
            // at once: one that does not answer keeps nobody else waiting
            var reached = await Task.WhenAll(work.Select(one =>
                SendAsync(one.Site, telemetry.Trace.Mark(one.Assignment, job.State, job.EveryoneIn(send.Phase)), calling.Token)));
            if (reached.Contains(false)) clock.AskAgainSoon();
        }
        catch (BadInputException e)
        {
            events.Post(new RoundEvent.Paused(e.Message)); // a site refuses the plan: somebody changes its word, or gives up
        }
        catch (OperationCanceledException) when (!stopping.IsCancellationRequested)
        {
            // Somebody has stopped the run meanwhile, which is heard next.
        }
    }

    private async Task<bool> SendAsync(string site, SiteAssignment assignment, CancellationToken cancellationToken)
    {
        var reached = await sites.TryAsync(
            site, grain => grain.AcceptAsync(assignment, cancellationToken).WaitAsync(cancellationToken), cancellationToken);
        if (!reached) events.Post(new RoundEvent.SiteLost(site));
        else if (job.State.LostSites.Contains(site)) events.Post(new RoundEvent.SiteReturned(site));
        return reached;
    }

    /// <summary>
    /// Asks sites whether all is there. Not awaited: a site answers when its disk has, and a deadline counts meanwhile. It is asked
    /// once, however often it is to be asked again.
    /// </summary>
    public void Confirm(RoundEffect.ConfirmSites confirm, CancellationToken stopping)
    {
        var state = job.State;
        if (state.Phase != Phase.Confirming) return; // a later event of the batch has ended it
        var span = telemetry.Trace.Current?.Id;
        foreach (var (site, question) in ConfirmationBuilder.Build(job.Plan, state, job.Machine.Waiting(state), confirm.Sites))
        {
            if (_asking.Add((site, state.Round, state.Attempt, state.Confirmation)))
                _ = ConfirmAsync(site, state.Confirmation, question with { TraceParent = span }, stopping);
        }
    }

    private async Task ConfirmAsync(string site, int number, SiteConfirmation question, CancellationToken stopping)
    {
        RoundEvent.SiteConfirmed Answer(IReadOnlyDictionary<string, string> missing, string? trouble = null) =>
            new(site, question.Round, question.Attempt, number, missing, trouble);

        try
        {
            events.Post(Answer(await sites.Of(site).ConfirmAsync(question, stopping)));
        }
        catch (OperationCanceledException) when (stopping.IsCancellationRequested)
        {
            // The activation is going away; the next one asks again.
        }
        catch (Exception e) when (StoreUnavailableException.In(e) is { } trouble)
        {
            events.Post(Answer(NobodyMissing, trouble.Message.ReplaceLineEndings(" ")));
        }
        catch (Exception e) when (e is OrleansException || Unanswered.Is(e, stopping))
        {
            var isTakenOver = await sites.TryAsync(site, grain => grain.PingAsync(stopping), stopping); // by another silo of the site
            if (isTakenOver) services.Logger.LogSiteUnreachable(job.Id, site, e.GetType().Name);
            else events.Post(new RoundEvent.SiteLost(site));
            clock.AskAgainSoon();
        }
        catch (Exception e)
        {
            services.Logger.LogBroken(job.Id, e);
            events.Post(new RoundEvent.Broken(
                $"Site {site} cannot confirm: {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}"));
        }
        finally
        {
            _asking.Remove((site, question.Round, question.Attempt, number));
        }
    }

    // A site that a round went on without is in the next one if it has a silo again.
    private async Task AskLostAsync(string site)
    {
        try
        {
            await sites.Of(site).PingAsync();
            events.Post(new RoundEvent.SiteReturned(site));
        }
        catch (Exception e) when (e is OrleansException || Unanswered.Is(e))
        {
            // still lost; the next tick asks again
        }
    }
}
