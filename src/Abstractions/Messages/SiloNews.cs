namespace FedRLora.Abstractions.Messages;

/// <summary>A line of a silo's log.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.log-line")]
public sealed record LogLine
{
    /// <summary>Its number at its silo, from 1; a silo that starts begins again.</summary>
    [Id(0)] public required long Number { get; init; }

    /// <summary>When it was written.</summary>
    [Id(1)] public required DateTimeOffset At { get; init; }

    /// <summary>information, warning, error or critical.</summary>
    [Id(2)] public required string Level { get; init; }

    /// <summary>Who wrote it.</summary>
    [Id(3)] public required string Category { get; init; }

    /// <summary>The stable id of what happened.</summary>
    [Id(4)] public required int Event { get; init; }

    /// <summary>The text, in one line.</summary>
    [Id(5)] public required string Text { get; init; }

    /// <summary>The run that it is about; null for none.</summary>
    [Id(6)] public string? Run { get; init; }

    /// <summary>The round.</summary>
    [Id(7)] public int? Round { get; init; }

    /// <summary>The site.</summary>
    [Id(8)] public string? Site { get; init; }

    /// <summary>The client.</summary>
    [Id(9)] public string? Client { get; init; }

    /// <summary>The trace that it was written in, as 32 hexadecimal digits.</summary>
    [Id(10)] public string? TraceId { get; init; }

    /// <summary>The span that it was written in, as 16 hexadecimal digits.</summary>
    [Id(11)] public string? SpanId { get; init; }
}

/// <summary>Lines of a silo's log.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.log-lines")]
public sealed record LogLines
{
    /// <summary>Whose log.</summary>
    [Id(0)] public required string Silo { get; init; }

    /// <summary>Oldest first.</summary>
    [Id(1)] public required IReadOnlyList<LogLine> Lines { get; init; }

    /// <summary>What to ask after next.</summary>
    [Id(2)] public required long Last { get; init; }

    /// <summary>How many lines after the one that was asked after are forgotten, of this run or another.</summary>
    [Id(3)] public required long Forgotten { get; init; }
}

/// <summary>What a silo is and how it is.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.silo-now")]
public sealed record SiloNow
{
    /// <summary>Its name.</summary>
    [Id(0)] public required string Name { get; init; }

    /// <summary>The sites that it serves; "*" for all.</summary>
    [Id(1)] public required IReadOnlyList<string> Sites { get; init; }

    /// <summary>Where the other silos reach it.</summary>
    [Id(2)] public required string Address { get; init; }

    /// <summary>The program's version.</summary>
    [Id(3)] public required string Version { get; init; }

    /// <summary>How long it has been running, in seconds.</summary>
    [Id(4)] public required double UptimeSeconds { get; init; }

    /// <summary>Processors that it may use.</summary>
    [Id(5)] public required int Processors { get; init; }

    /// <summary>Memory that its process has, in bytes.</summary>
    [Id(6)] public required long MemoryBytes { get; init; }

    /// <summary>Memory that its process may have, in bytes.</summary>
    [Id(7)] public required long MemoryLimitBytes { get; init; }

    /// <summary>Its device, lanes and engine; null where its trainer does not say.</summary>
    [Id(8)] public DeviceNow? Device { get; init; }

    /// <summary>Why a store cannot be used, in one line; null where both can.</summary>
    [Id(9)] public string? StoreTrouble { get; init; }

    /// <summary>What it has sent, received and asked of its stores since it started; null where it keeps no account.</summary>
    [Id(10)] public SiloTraffic? Traffic { get; init; }
}

/// <summary>What a silo has sent, received and asked of its stores since it started, from its own account of measurements.</summary>
[GenerateSerializer, Immutable, Alias("fedrlora.silo-traffic")]
public sealed record SiloTraffic
{
    /// <summary>Its stores, by store and operation; what was never asked is not there.</summary>
    [Id(0)] public required IReadOnlyList<StoreCalls> Stores { get; init; }

    /// <summary>Bytes of its clients, by run and site, while it keeps the numbers of the run.</summary>
    [Id(1)] public required IReadOnlyList<ClientBytes> Runs { get; init; }
}

/// <summary>Calls of one operation to a store.</summary>
/// <param name="Store">job or site.</param>
/// <param name="Operation">read, write, list, delete or sync.</param>
/// <param name="Calls">How many.</param>
/// <param name="Failures">How many of them failed because the store could not be used.</param>
/// <param name="MeanSeconds">How long one took, until its answer began; null where none was.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.store-calls")]
public sealed record StoreCalls(
    [property: Id(0)] string Store, [property: Id(1)] string Operation, [property: Id(2)] long Calls, [property: Id(3)] long Failures,
    [property: Id(4)] double? MeanSeconds);

/// <summary>Bytes of the clients of a site in a run.</summary>
/// <param name="Run">The run.</param>
/// <param name="Site">The site.</param>
/// <param name="SentBytes">Of updates that they wrote.</param>
/// <param name="ReceivedBytes">Of shared states that they read.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.client-bytes")]
public sealed record ClientBytes(
    [property: Id(0)] string Run, [property: Id(1)] string Site, [property: Id(2)] long SentBytes, [property: Id(3)] long ReceivedBytes);

/// <summary>The device that a silo trains on.</summary>
/// <param name="Name">As libtorch names it.</param>
/// <param name="Engine">What bits depend on, as manifests begin with.</param>
/// <param name="Lanes">Groups that train side by side.</param>
/// <param name="Busy">Lanes that are at work.</param>
/// <param name="Queued">Pieces of work that wait for a lane.</param>
[GenerateSerializer, Immutable, Alias("fedrlora.device-now")]
public sealed record DeviceNow(
    [property: Id(0)] string Name, [property: Id(1)] string Engine, [property: Id(2)] int Lanes, [property: Id(3)] int Busy,
    [property: Id(4)] int Queued);
