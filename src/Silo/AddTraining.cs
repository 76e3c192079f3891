using FedRLora.Abstractions.Ports;
using FedRLora.Training;
using FedRLora.Training.Adapters.Peft;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace FedRLora.Silo;

internal static class TrainingBuilderExtensions
{
    /// <summary>The trainer on this machine's device, and the exporter.</summary>
    public static void AddTraining(this IHostApplicationBuilder builder, SiloOptions options)
    {
        builder.Services.AddSingleton<ITrainer>(_ => new LocalTrainer(new LocalTrainerOptions { Root = options.Root }));
        builder.Services.AddSingleton<IAdapterExporter>(_ => new PeftExporter(options.Root));
    }
}
