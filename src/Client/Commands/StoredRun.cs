using System.CommandLine;
using FedRLora.Client.Local;

namespace FedRLora.Client.Commands;

/// <summary>How a command line names a run to look after without a silo: a run folder, or a job in the stores of silos.</summary>
internal sealed class StoredRun
{
    private readonly Argument<string?> _folder;
    private readonly Option<string?> _store = new("--store") { Description = "Instead of a run folder: the job's store of silos" };
    private readonly Option<string?> _job = new("--job") { Description = "With --store: the run's id" };
    private readonly Option<string?> _siteStore = new("--site-store")
    {
        Description = "With --store: a site's own store; sites that keep their heads elsewhere are not checked",
    };

    private StoredRun(string of) => _folder = new("run") { Description = of, Arity = ArgumentArity.ZeroOrOne };

    /// <summary>Adds the argument and the options.</summary>
    /// <param name="command">The command.</param>
    /// <param name="of">What the argument may be.</param>
    public static StoredRun AddTo(Command command, string of = "A folder that fedrlora simulate made")
    {
        var run = new StoredRun(of);
        command.Add(run._folder);
        foreach (var option in new[] { run._store, run._job, run._siteStore }) command.Add(option);
        command.Validators.Add(result =>
        {
            var ofRun = result.GetResult(run._folder) is { Tokens.Count: > 0 };
            var ofStore = result.GetResult(run._store) is not null && result.GetResult(run._job) is not null;
            var partly = result.GetResult(run._store) ?? result.GetResult(run._job) ?? result.GetResult(run._siteStore);
            if (ofRun ? partly is not null : !ofStore) result.AddError("Give a run folder, or --store and --job (and --site-store).");
        });
        return run;
    }

    /// <summary>The run folder; null where a store is named.</summary>
    public string? FolderOf(ParseResult parsed) => parsed.GetValue(_folder);

    /// <summary>The job in the stores that are named.</summary>
    /// <exception cref="Abstractions.BadInputException">A folder is not there.</exception>
    public StoredJobs OpenStore(ParseResult parsed) =>
        StoredJobs.Of(parsed.GetRequiredValue(_store)!, parsed.GetValue(_siteStore), parsed.GetRequiredValue(_job)!);
}
