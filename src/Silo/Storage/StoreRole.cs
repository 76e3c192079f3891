namespace FedRLora.Silo.Storage;

/// <summary>Which of a silo's stores is meant: each has its own location and its own credentials.</summary>
/// <param name="Option">The option that names its location.</param>
/// <param name="ConnectionStringVariable">The environment variable that may hold a connection string.</param>
/// <param name="SasVariable">The environment variable that may hold a shared access signature.</param>
public sealed record StoreRole(string Option, string ConnectionStringVariable, string SasVariable)
{
    /// <summary>The job's store.</summary>
    public static StoreRole Job { get; } = new("--store", "FEDRLORA_STORE_CONNECTION_STRING", "FEDRLORA_STORE_SAS");

    /// <summary>The store of one site's heads and optimizer states.</summary>
    public static StoreRole Site { get; } = new("--site-store", "FEDRLORA_SITE_STORE_CONNECTION_STRING", "FEDRLORA_SITE_STORE_SAS");

    /// <summary>The tables of the membership; without variables of its own, the job store's connection string where it fits.</summary>
    public static StoreRole Cluster { get; } = new("--cluster", "FEDRLORA_CLUSTER_CONNECTION_STRING", "FEDRLORA_CLUSTER_SAS");
}
