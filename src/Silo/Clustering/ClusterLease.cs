using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using FedRLora.Abstractions;
using FedRLora.Grains.Store;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// Who works on a job store: <c>cluster/lease.json</c>, sealed, written only over the version that was read. It is renewed while the
/// cluster lives and says where its silos can be asked, so that a second cluster on the same store knows whom it would disturb.
/// </summary>
public sealed record ClusterLease
{
    private const int MostNamed = 8;

    /// <summary>How long it holds unless it is renewed.</summary>
    public static readonly TimeSpan Duration = TimeSpan.FromSeconds(30);

    /// <summary>By how much the clocks of two machines may differ.</summary>
    public static readonly TimeSpan ClockMargin = TimeSpan.FromSeconds(10);

    /// <summary>Grows by one whenever another cluster takes the store.</summary>
    public required long Term { get; init; }

    /// <summary>Which cluster: drawn by the silo that took the store, adopted by those that join it.</summary>
    public required string Cluster { get; init; }

    /// <summary>Its <c>--cluster-id</c>.</summary>
    public required string ClusterId { get; init; }

    /// <summary>Where its membership is kept.</summary>
    public required string Place { get; init; }

    /// <summary>When it ends, by the clock of the silo that wrote it.</summary>
    public required DateTimeOffset Expires { get; init; }

    /// <summary>Whether the silo that took it is not up yet: that nobody listens says nothing then.</summary>
    public bool Starting { get; init; }

    /// <summary>The silos; none once the last one has left.</summary>
    public required IReadOnlyList<LeasedSilo> Silos { get; init; }

    /// <summary>Whether it has ended, also by a clock that is <see cref="ClockMargin"/> behind.</summary>
    public bool HasExpired(DateTimeOffset now) => now > Expires + ClockMargin;

    /// <summary>The cluster as a message names it.</summary>
    public override string ToString()
    {
        var named = string.Join(", ", Silos.Take(MostNamed).Select(static silo => $"{silo}"));
        var more = Silos.Count > MostNamed ? $" and {Silos.Count - MostNamed} more" : "";
        return string.Create(CultureInfo.InvariantCulture,
            $"the cluster of silos {named}{more} ({ClusterId} at {Place}, term {Term}, until {Expires.UtcDateTime:HH:mm:ss}Z)");
    }

    /// <summary>The bytes that are stored.</summary>
    public byte[] ToBytes() => SealedJson.Seal(JsonSerializer.SerializeToUtf8Bytes(this, LeaseJson.Default.ClusterLease));

    /// <summary>Reads what <see cref="ToBytes"/> wrote.</summary>
    /// <exception cref="CorruptBlobException">The bytes are no lease, or were changed.</exception>
    public static ClusterLease Parse(byte[] bytes)
    {
        try
        {
            return JsonSerializer.Deserialize(BlobStates.RequireSealed(bytes, Keys.ClusterLease), LeaseJson.Default.ClusterLease)
                ?? throw new JsonException("null");
        }
        catch (JsonException e)
        {
            throw new CorruptBlobException($"{Keys.ClusterLease} is not a lease: {e.Message}");
        }
    }
}

/// <summary>A silo of the cluster that holds a lease.</summary>
/// <param name="Host">Its machine, where its address is of loopback and means something only there; empty for others.</param>
/// <param name="Address">Address, port and generation, as Orleans writes them.</param>
public sealed record LeasedSilo(string Host, string Address)
{
    /// <summary>Address and port, and the machine where it is another one.</summary>
    public override string ToString() => $"{SiloAddress.FromParsableString(Address).Endpoint}"
        + (Host.Length == 0 || Host == Environment.MachineName ? "" : $" of {Host}");
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true, NewLine = "\n")]
[JsonSerializable(typeof(ClusterLease))]
internal sealed partial class LeaseJson : JsonSerializerContext;
