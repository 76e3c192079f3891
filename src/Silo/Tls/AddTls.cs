using FedRLora.Pki;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;

namespace FedRLora.Silo.Tls;

/// <summary>Mutual TLS between silos and at the gateway.</summary>
public static class TlsBuilderExtensions
{
    private static readonly CertificateUse[] Both = [CertificateUse.Server, CertificateUse.Client];

    /// <summary>Every connection of the silo is one of mutual TLS; only certificates of sites count.</summary>
    public static ISiloBuilder AddTls(this ISiloBuilder silo, TlsSettings settings)
    {
        silo.Services.AddSingleton(settings)
            .AddSingleton(services => Open(settings, settings.Clock ?? services.GetRequiredService<TimeProvider>(),
                services.GetRequiredService<ILogger<TlsIdentity>>()))
            .AddSingleton<OpenConnections>().AddSingleton<TlsRefusals>().AddSingleton<SiteBinding>().AddSingleton<TlsLinks>()
            .AddHostedService<TlsUpkeep>();
        return silo.Configure<SiloConnectionOptions>(static connections =>
        {
            connections.ConfigureSiloInboundConnection(static builder => Wrap(builder, LinkKind.SiloInbound));
            connections.ConfigureSiloOutboundConnection(static builder => Wrap(builder, LinkKind.SiloOutbound));
            connections.ConfigureGatewayInboundConnection(static builder => Wrap(builder, LinkKind.Gateway));
        });
    }

    /// <summary>Reads the files of a silo and makes sure that others will accept it.</summary>
    /// <exception cref="Abstractions.BadInputException">A file cannot be used, or the certificate would be refused.</exception>
    public static TlsIdentity Open(TlsSettings settings, TimeProvider time, ILogger log)
    {
        var identity = TlsIdentity.Open(settings.Files, settings.Domain, Both, time, log);
        identity.RequireSites(settings.Sites);
        return identity;
    }

    private static void Wrap(IConnectionBuilder builder, LinkKind kind)
    {
        var links = builder.ApplicationServices.GetRequiredService<TlsLinks>();
        builder.Use(next => context => links.OutsideAsync(kind, context, next));
        if (kind == LinkKind.SiloOutbound) builder.UseClientTls(links.Options(kind));
        else builder.UseServerTls(links.Options(kind));
        builder.Use(next => context => links.InsideAsync(kind, context, next));
    }
}
