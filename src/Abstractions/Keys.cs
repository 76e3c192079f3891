using System.Globalization;

namespace FedRLora.Abstractions;

/// <summary>Every grain key and blob key, built in one place. Ids are letters, digits, dot, dash and underscore.</summary>
public static class Keys
{
    /// <summary>Key of the one jobs grain.</summary>
    public const string Jobs = "jobs";

    /// <summary>Last part of a manifest's key.</summary>
    public const string ManifestName = "manifest.json";

    /// <summary>Last part of a shared state's key.</summary>
    public const string SharedName = "shared.safetensors";

    /// <summary>Last part of a server optimizer state's key.</summary>
    public const string ServerOptimizerName = "server-optimizer.safetensors";

    /// <summary>Grain key of a site's part of a job.</summary>
    public static string Site(string job, string site) => $"{job}/{site}";

    /// <summary>Grain key of a client.</summary>
    public static string Client(string job, string site, string client) => $"{job}/{site}/{client}";

    /// <summary>The job of a site's or a client's grain key.</summary>
    public static string JobOf(string grainKey) => grainKey.Split('/')[0];

    /// <summary>The site of a site's or a client's grain key.</summary>
    public static string SiteOf(string grainKey) => grainKey.Split('/')[1];

    /// <summary>Blob prefix of a job.</summary>
    public static string Job(string job) => $"jobs/{job}/";

    /// <summary>Prefix of the list of jobs.</summary>
    public const string Index = "index/";

    /// <summary>A job's entry in the list of jobs.</summary>
    public static string IndexOf(string job) => Index + job;

    /// <summary>The plan's text.</summary>
    public static string Plan(string job) => $"jobs/{job}/plan.yaml";

    /// <summary>The plan's text after an extension, the first of which is 1.</summary>
    public static string Extension(string job, int extension) => string.Create(CultureInfo.InvariantCulture, $"jobs/{job}/extensions/{extension}.yaml");

    /// <summary>Prefix of the extended plans.</summary>
    public static string Extensions(string job) => $"jobs/{job}/extensions/";

    /// <summary>A copy of a blob of the round that a fork starts from.</summary>
    public static string Origin(string job, string name) => $"jobs/{job}/origin/{name}";

    /// <summary>The engine fingerprint.</summary>
    public static string Fingerprint(string job) => $"jobs/{job}/fingerprint.json";

    /// <summary>The commit pointer.</summary>
    public static string Current(string job) => $"jobs/{job}/current.json";

    /// <summary>Blob prefix of a round.</summary>
    public static string Round(string job, int round) => Round(job, round, "");

    /// <summary>How long each round took: outside every digest.</summary>
    public static string Timing(string job, int round) => Round(job, round, "timing.json");

    /// <summary>A round's manifest.</summary>
    public static string Manifest(string job, int round) => Round(job, round, ManifestName);

    /// <summary>A round's shared state.</summary>
    public static string Shared(string job, int round) => Round(job, round, SharedName);

    /// <summary>A round's server optimizer state.</summary>
    public static string ServerOptimizer(string job, int round) => Round(job, round, ServerOptimizerName);

    /// <summary>Prefix of what an attempt wrote; deleted after the commit, beside the next round.</summary>
    public static string Attempt(string job, int round, int attempt) => Round(job, round, string.Create(CultureInfo.InvariantCulture, $"{attempt}/"));

    /// <summary>A client's update.</summary>
    public static string Update(string job, int round, int attempt, string client) => Round(job, round, string.Create(CultureInfo.InvariantCulture, $"{attempt}/updates/{client}.safetensors"));

    /// <summary>A client's head after a round, in its site's store.</summary>
    public static string Head(string job, string site, string client, int round) => Owned(job, site, client, string.Create(CultureInfo.InvariantCulture, $"{round}/head.safetensors"));

    /// <summary>A client's optimizer state after a round, in its site's store.</summary>
    public static string Optimizer(string job, string site, string client, int round) => Owned(job, site, client, string.Create(CultureInfo.InvariantCulture, $"{round}/optimizer.safetensors"));

    /// <summary>Prefix of a client's exported adapter, in its site's store.</summary>
    public static string Export(string job, string site, string client) => Owned(job, site, client, "export/");

    /// <summary>Prefix of what a client owns at its site.</summary>
    public static string Owned(string job, string site, string client) => Owned(job, site, client, "");

    private static string Owned(string job, string site, string client, string rest) => $"sites/{site}/jobs/{job}/clients/{client}/{rest}";

    private static string Round(string job, int round, string rest) => string.Create(CultureInfo.InvariantCulture, $"jobs/{job}/rounds/{round}/{rest}");
}
