using FedRLora.Grains;
using FedRLora.Silo.Tls;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Runtime;

namespace FedRLora.Silo.Clustering;

/// <summary>
/// Ends a silo that the others have declared dead with a line: one that they refuse while it tries to join, or that was on the wrong side
/// of a cut link. Orleans would end the process with a dump of its stack.
/// </summary>
internal sealed class FatalEnding(
    IFatalErrorHandler otherwise, SiloIdentity identity, SiloEnding ending, IServiceProvider services, IHostApplicationLifetime lifetime)
    : IFatalErrorHandler
{
    private const string DeclaredDead = "I have been told I am dead"; // Orleans' words, without an exception

    /// <summary>Puts it in the place of Orleans' own.</summary>
    public static ISiloBuilder Add(ISiloBuilder silo)
    {
        var fatal = silo.Services.Last(static service => service.ServiceType == typeof(IFatalErrorHandler));
        silo.Services.AddSingleton<IFatalErrorHandler>(services => ActivatorUtilities.CreateInstance<FatalEnding>(services,
            fatal.ImplementationInstance ?? ActivatorUtilities.CreateInstance(services, fatal.ImplementationType!)));
        return silo;
    }

    /// <inheritdoc/>
    public bool IsUnexpected(Exception exception) => otherwise.IsUnexpected(exception);

    /// <inheritdoc/>
    public void OnFatalException(object? sender, string? context, Exception? exception)
    {
        if (!lifetime.ApplicationStarted.IsCancellationRequested && services.GetService<TlsRefusals>()?.Last is { } refusal)
            ending.End($"silo {identity.Name} could not join: {refusal}");
        else if (exception is null && context?.StartsWith(DeclaredDead, StringComparison.Ordinal) == true)
            ending.End($"silo {identity.Name} ends: the others have given it up, since they did not hear it for too long or refuse it; "
                + "start it again");
        else
            otherwise.OnFatalException(sender, context, exception);
    }
}
