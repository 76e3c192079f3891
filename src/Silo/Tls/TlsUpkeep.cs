using FedRLora.Grains;
using FedRLora.Pki;
using FedRLora.Silo.Clustering;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Runtime;

namespace FedRLora.Silo.Tls;

/// <summary>
/// Every few seconds: reads the files again, closes connections whose certificate does not count any more, declares silos dead whose
/// certificate is denied, and ends this one where nobody would accept its own.
/// </summary>
internal sealed partial class TlsUpkeep(
    TlsIdentity identity, OpenConnections open, TlsLinks links, TlsSettings settings, IServiceProvider services, ILocalSiloDetails self,
    SiloEnding ending, TimeProvider time, ILogger<TlsUpkeep> logger) : BackgroundService
{
    private readonly HashSet<SiloAddress> _denied = []; // that are to be declared dead
    private long? _refusedSince;
    private bool _troubled;

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(settings.LookEvery, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await LookAsync();
                _troubled = false;
            }
            catch (Exception e) when (e is not OperationCanceledException)
            {
                if (!_troubled) LogTrouble(e.Message.Split('\n', 2)[0].TrimEnd()); // it looks again
                _troubled = true;
            }
        }
    }

    private async Task LookAsync()
    {
        identity.Reload();
        open.CloseRefused();
        links.CloseUnbound();
        LookAtOwn();
        await DeclareDeniedAsync();
    }

    private void LookAtOwn()
    {
        if (identity.OwnRefusal() is not { } refusal)
        {
            _refusedSince = null;
            return;
        }

        _refusedSince ??= time.GetTimestamp();
        if (time.GetElapsedTime(_refusedSince.Value) >= settings.OwnPatience)
            ending.End($"silo {settings.Silo} ends: its own certificate is refused: {refusal}; give it a new one and start it again");
    }

    // A silo that is denied must not vote others out meanwhile. One that is only late is left to the probes: the clock may be ours.
    private async Task DeclareDeniedAsync()
    {
        _denied.UnionWith(links.TakeDenied());
        var sites = identity.Current.Denied.Sites;
        if (_denied.Count == 0 && sites.Count == 0) return;
        var membership = services.GetRequiredService<IClusterMembershipService>();
        foreach (var member in membership.CurrentSnapshot.Members.Values)
        {
            var named = sites.Count > 0 && SiloIdentity.SitesOf(member.Name).Split(',').Any(sites.Contains);
            if (member.SiloAddress.Equals(self.SiloAddress) || (!named && !_denied.Contains(member.SiloAddress))) continue;
            if (member.Status is not SiloStatus.Dead)
            {
                if (!await membership.TryKill(member.SiloAddress)) continue; // at the next look
                LogDeclared(SiloIdentity.NameOf(member.Name), $"{member.SiloAddress.Endpoint}");
            }

            _denied.Remove(member.SiloAddress);
        }
    }

    [LoggerMessage(543, LogLevel.Warning,
        "silo {Silo} at {Place} is denied and was declared dead; its work goes to other silos of its site")]
    private partial void LogDeclared(string silo, string place);

    [LoggerMessage(544, LogLevel.Warning, "what is denied could not be carried out, it is tried again: {Reason}")]
    private partial void LogTrouble(string reason);
}
