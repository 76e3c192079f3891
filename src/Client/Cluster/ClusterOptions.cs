using System.CommandLine;
using FedRLora.Abstractions;
using FedRLora.Silo;
using FedRLora.Silo.Storage;

namespace FedRLora.Client.Cluster;

/// <summary>The options that say where a silo finds the others.</summary>
internal static class ClusterOptions
{
    /// <summary><c>--cluster</c>.</summary>
    public static Option<ClusterLocation?> Location() => new("--cluster")
    {
        Description = $"Where silos find one another: {ClusterLocation.Forms}; "
            + $"user and password of Redis are read from {RedisMembership.UserVariable} and {RedisMembership.PasswordVariable}, "
            + $"the tables' credentials from {StoreRole.Cluster.ConnectionStringVariable} or {StoreRole.Cluster.SasVariable}",
        CustomParser = static result =>
        {
            try
            {
                return ClusterLocation.Parse(result.Tokens[0].Value);
            }
            catch (BadInputException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };

    /// <summary><c>--cluster-id</c>.</summary>
    public static Option<string> Id() => new("--cluster-id")
    {
        Description = "Which cluster, where several share one Redis or one table",
        DefaultValueFactory = static _ => SiloHost.ServiceId,
    };
}
