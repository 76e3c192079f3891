using FedRLora.Abstractions.Messages;

namespace FedRLora.Abstractions.Grains;

/// <summary>A task client. As the first member of its group it leads the group's work on its silo's lane.</summary>
[Alias("fedrlora.client")]
public interface IClientGrain : IGrainWithStringKey
{
    /// <summary>Begins the group's work at once and reports later. Work that is finished is answered again.</summary>
    [Alias("accept")]
    Task AcceptAsync(SiteAssignment assignment, CancellationToken cancellationToken = default);

    /// <summary>Abandons what runs.</summary>
    [Alias("cancel")]
    Task CancelAsync(CancellationToken cancellationToken = default);
}
