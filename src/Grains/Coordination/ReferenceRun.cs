using System.Text;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Grains;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Ports;
using FedRLora.Grains.Runs;
using FedRLora.Grains.Store;

namespace FedRLora.Grains.Coordination;

/// <summary>
/// The local-only reference of a run on silos, which the run begins itself when it is finished: a run of its own, under
/// <see cref="LocalOnlyRun.Of"/>. A fork has none, as with <c>simulate</c>.
/// </summary>
internal sealed class ReferenceRun(CoordinatorServices services, string name)
{
    private IBlobStore Store => services.Store;

    /// <summary>What it needs is known before the run begins, and whether it is left out is written down.</summary>
    /// <param name="plan">The run's plan.</param>
    /// <param name="planYaml">Its text.</param>
    /// <param name="isAsked">Whether whoever submits the run wants what the plan asks for.</param>
    /// <param name="cancellationToken">The caller's token.</param>
    /// <exception cref="BadInputException">
    /// Its name would be too long or is another run's, or the plan is laid out so that it cannot be made.
    /// </exception>
    public async Task PrepareAsync(FederationPlan plan, string planYaml, bool isAsked, CancellationToken cancellationToken)
    {
        await RequireOwnNameAsync(planYaml, cancellationToken);
        if (!services.Settings.BeginsReferences || !LocalOnlyRun.IsAskedBy(plan)) return;
        if (!isAsked)
        {
            var left = SealedJson.Seal("{\n  \"localOnly\": false\n}"u8.ToArray());
            await Store.WriteDocumentAsync(Keys.NoReference(name), left, cancellationToken);
            return;
        }

        LocalOnlyRun.RequireName(name, "run");
        var yaml = LocalOnlyRun.PlanOf(planYaml, "plan.yaml");
        var reference = LocalOnlyRun.Of(name);
        if (await TextAsync(reference, cancellationToken) is { } there && there != yaml)
        {
            throw new BadInputException($"Run {reference} exists with another plan than the local-only reference of {name} would have; "
                + "submit under another name, or without the reference.");
        }

        await Store.DeleteAsync(Keys.NoReference(name), cancellationToken); // a submission that failed half way may have left it
    }

    /// <summary>Nobody shall take a run for the reference of another that it is not.</summary>
    /// <exception cref="BadInputException">It has the name of that one.</exception>
    public async Task RequireOwnNameAsync(string planYaml, CancellationToken cancellationToken)
    {
        if (!services.Settings.BeginsReferences) return;
        if (LocalOnlyRun.RunOf(name) is not { } run || await TextAsync(run, cancellationToken) is not { } yaml) return;
        if (PlanReader.Read(yaml, run).Plan is not { } plan || !LocalOnlyRun.IsAskedBy(plan)) return;
        if (LocalOnlyRun.PlanOf(yaml, run) == planYaml) return;
        throw new BadInputException($"{name} is what the local-only reference of run {run} is called; submit under another name.");
    }

    /// <summary>
    /// Begins it, or has it go on where the run was extended; what was begun already is left as it is, whether it runs or was stopped.
    /// </summary>
    /// <exception cref="StoreUnavailableException">The store cannot be used.</exception>
    public async Task BeginAsync(OpenJob job, CancellationToken cancellationToken)
    {
        if (!services.Settings.BeginsReferences || !LocalOnlyRun.IsAskedBy(job.Plan)) return;
        if (await IsThereAsync(Keys.NoReference(name), cancellationToken)) return;
        if (await IsThereAsync(Keys.OriginManifest(name), cancellationToken)) return; // a fork
        try
        {
            LocalOnlyRun.RequireName(name, "run");
            var yaml = LocalOnlyRun.PlanOf(
                Encoding.UTF8.GetString(await Store.ReadBytesAsync(job.PlanBlob, cancellationToken)), job.PlanBlob.Key);
            var reference = services.Grains.GetGrain<IRunControlGrain>(LocalOnlyRun.Of(name));
            var there = await reference.GetPlanAsync(cancellationToken);
            if (there is null) await reference.SubmitAsync(yaml, cancellationToken);
            else if (there != yaml) await reference.ExtendAsync(yaml, cancellationToken: cancellationToken);
            services.Logger.LogReferenceBegun(name, LocalOnlyRun.Of(name));
        }
        catch (Exception e) when (CorruptBlobException.OrBadInputIn(e) is { } refusal)
        {
            services.Logger.LogNoReference(name, refusal.Message); // the run itself is committed
        }
    }

    private async Task<string?> TextAsync(string run, CancellationToken cancellationToken) =>
        Identifiers.IsValid(run) && await StoredPlans.NewestAsync(Store, run, cancellationToken) is var (_, yaml, _)
            ? Encoding.UTF8.GetString(yaml)
            : null;

    private async Task<bool> IsThereAsync(string key, CancellationToken cancellationToken)
    {
        await using var opened = await Store.OpenAsync(key, cancellationToken);
        return opened is not null;
    }
}
