using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Faults;
using FedRLora.Training;
using FedRLora.Training.Adapters.Peft;
using FedRLora.Training.Devices;
using FedRLora.Training.Inputs;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace FedRLora.Silo;

internal static partial class TrainingBuilderExtensions
{
    /// <summary>
    /// The trainer on the silo's devices, which answers prompts too, with the faults that a plan asks for, and the exporter. What the
    /// trainer has to say of its inputs goes to the log, or to the <see cref="NoteSink"/> of a host that has one.
    /// </summary>
    public static void AddTraining(this IHostApplicationBuilder builder, SiloOptions options)
    {
        builder.Services.AddSingleton(services =>
        {
            var logger = services.GetRequiredService<ILogger<LocalTrainer>>();
            var note = services.GetService<NoteSink>() ?? (line => LogNote(logger, line));
            var forecast = services.GetService<ForecastSink>() ?? (line => LogForecast(logger, line));
            return new DeviceTrainers(
                new LocalTrainerOptions { Root = options.Root, Lanes = options.Lanes, Note = note, Forecast = forecast },
                options.Devices);
        });
        builder.Services.AddSingleton<ITrainer>(
            static services =>
                new FaultyTrainer(services.GetRequiredService<DeviceTrainers>(), services.GetRequiredService<TimeProvider>()));
        builder.Services.AddSingleton<IPrompter>(static services => services.GetRequiredService<DeviceTrainers>());
        builder.Services.AddSingleton<IRunInputs>(_ => new LocalInputs(options.Root));
        builder.Services.AddSingleton<IAdapterExporter>(_ => new PeftExporter(options.Root));
    }

    [LoggerMessage(601, LogLevel.Warning, "{Note}")]
    private static partial void LogNote(ILogger logger, string note);

    [LoggerMessage(602, LogLevel.Information, "{Forecast}")]
    private static partial void LogForecast(ILogger logger, string forecast);
}
